"""Windows and summaries of a node: what it saw is recorded, and calls of a task make what no longer fits short.

A window that was recorded is made again of the same messages, however much was said since, so that an execution
after a crash asks the same. Its manifest stays in the journal, beside the calls that it fed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vertebra.databases.database import Tx
from vertebra.errors import AnswerInvalid, UsageError
from vertebra.memory import (
    Estimator,
    Manifest,
    Message,
    Provenance,
    Summary,
    Window,
    reading,
    summarising,
    windows,
)
from vertebra.memory.counting import TokenCounter
from vertebra.memory.delivering import Posting
from vertebra.memory.lineage import Line
from vertebra.memory.messages import canonical, read_message
from vertebra.memory.windows import Strategy, View
from vertebra.nodes.visit import outer_step

if TYPE_CHECKING:
    from vertebra.runtime.remembering import NodeConversation

CALIBRATED_BY = 8
"""So many of a thread's latest calls say how many tokens its messages really are."""

INSTRUCTION = (
    "Summarise the conversation for whoever carries it on: what was said of persons and things, what was decided, "
    "what is open. Keep names, numbers and dates. "
    "Write in the language of the conversation, at most 200 words, nothing else."
)


async def window(talk: NodeConversation, max_tokens: int, strategy: Strategy, counter: TokenCounter | None) -> Window:
    """What ``NodeConversation.window`` does."""
    windows.require(max_tokens, strategy)
    name = talk.of.visit.next_value_name(f"window:{talk.label}")
    view, count = await talk.view(), counter or await _calibrated(talk)
    made = await talk.transact(lambda tx: windows.window(tx, view, max_tokens, strategy, count))
    mine = canonical(asdict(made.manifest))
    kept = await talk.record(name, mine)
    if kept == mine:
        return made
    manifest = manifest_of(json.loads(kept))
    return await talk.transact(lambda tx: windows.again(tx, view, manifest))


def manifest_of(data: dict[str, Any]) -> Manifest:
    """A manifest as it was recorded."""
    covered = data["summary"]
    ids = {"messages": tuple(data["messages"]), "own": tuple(data["own"])}
    return Manifest(**{**data, **ids, "summary": tuple(covered) if covered else None})


async def summarise(talk: NodeConversation, max_tokens: int, task: str, counter: TokenCounter | None) -> bool:
    """What ``NodeConversation.summarise`` does."""
    windows.require(max_tokens, "stable")
    scope, visit = talk.of.scope, talk.of.visit
    spec = scope.specs.get(visit.key)
    if spec is not None and spec.kind == "transition":
        raise UsageError(
            f"Node {visit.node!r} is a @transition and asked for a summary.",
            remedy="make it an @llm node: a summary is a call.",
            node=visit.node,
        )
    name = visit.next_value_name(f"summary:{talk.label}")
    view, count = await talk.view(), counter or await _calibrated(talk)
    plan = await talk.transact(lambda tx: _plan(tx, view, max_tokens, count))
    plan = json.loads(await talk.record(name, json.dumps(plan)))
    if not plan["blocks"]:
        return False
    before = await talk.transact(lambda tx: _before(tx, view, plan["from"]))
    text, model = "" if before is None else before.text, scope.model_for(visit.node, task)
    for ids in plan["blocks"]:
        messages = await talk.transact(
            functools.partial(reading.by_ids, place=view.place, subject=view.subject, ids=ids)
        )
        text = await _shorter(talk, model, text, sorted(messages, key=lambda message: message.id))
    first = plan["blocks"][0][0] if before is None else before.first
    where = Provenance(visit.thread, visit.run_id, visit.node, outer_step(visit.key), model)
    chat = read_message({"role": "system", "content": text})
    covers = (first, plan["blocks"][-1][-1])
    visit.post(Posting(Line(talk.base), talk.subject, chat, None, where, covers=covers).to_plain())
    return True


async def _shorter(talk: NodeConversation, model: str, so_far: str, messages: Sequence[Message]) -> str:
    parts = [f"The summary so far:\n{so_far}"] if so_far else []
    parts.append("What was said then:\n" + "\n".join(_line(message) for message in messages))
    asked: list[Any] = [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": "\n\n".join(parts)},
    ]
    client: Any = talk.of.scope.async_client(talk.of.visit)
    reply = await client.chat.completions.create(model=model, messages=asked)
    text = reply.choices[0].message.content
    if not text:
        raise AnswerInvalid("The model answered no summary.", node=talk.of.visit.node)
    return str(text)


def _line(message: Message) -> str:
    calls = "".join(f" [calls {c.function.name}({c.function.arguments})]" for c in message.tool_calls if c.function)
    return f"{message.chat.name or message.role}: {message.text}{calls}"


def _plan(tx: Tx, view: View, max_tokens: int, count: TokenCounter) -> dict[str, Any]:
    """Which summary to go on from, and the ids of the messages that are to be taken into it, block by block."""
    if view.upto == 0:
        return {"from": None, "blocks": []}
    before = view.own_summary or summarising.latest(tx, view.place, view.before)
    after = None if before is None else before.upto
    messages = reading.messages(
        tx, view.place, view.subject, last=None, before=view.before, after=after, talk_only=True
    )
    sizes = [windows.tokens(message, count) for message in messages]
    own = sum(windows.tokens(message, count) for message in view.own)
    leading = reading.leading(tx, view.place, view.subject, view.before)
    room = max_tokens - sum(windows.tokens(message, count) for message in leading) - own
    room -= 0 if before is None else count(before.chat)
    blocks = [] if sum(sizes) <= room else summarising.blocks(messages, sizes, max(room // 2, 0), max_tokens)
    source = None if before is None else [before.branch, before.upto]
    return {"from": source, "blocks": [[message.id for message in block] for block in blocks]}


def _before(tx: Tx, view: View, source: Sequence[Any] | None) -> Summary | None:
    if source is None:
        return None
    branch, upto = source
    mine = view.own_summary
    if mine is not None and (mine.branch, mine.upto) == (branch, upto):
        return mine
    return summarising.ending(tx, view.place.on(branch), upto)


async def _calibrated(talk: NodeConversation) -> TokenCounter:
    journal = talk.of.scope.services.store.journal
    calls = await journal.latest_calls(talk.of.visit.thread, CALIBRATED_BY)
    return Estimator.calibrated(
        (call.request, call.answer.input_tokens)
        for call in calls
        if call.request and call.answer is not None and call.answer.input_tokens
    )
