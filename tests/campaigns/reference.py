"""The reference graph of the campaigns: every kind of node and edge that a crash could come upon.

    cut -> summarise x 3 -> compare (gather) -> review (subgraph: read -> weigh) -> draft (loop) -> score (retry)
        -> approve (question) -> publish (effect)

Nothing that it asks depends on an earlier answer, so that a run which was killed can be compared with one that was
not, although its model never gives the same answer twice.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tests.campaigns import bodies
from tests.campaigns.witness import current_witness
from vertebra import END, START, Append, Context, Graph, Question, Retry, effect, human, llm, transition
from vertebra.testing.script import Rule

TEXT = "knee back head"
SOON = Retry(attempts=4, wait_initial_s=0.005, jitter_s=0)


class Approval(BaseModel):
    ok: bool


class Review(BaseModel):
    """The subgraph's own state; it shares ``text`` and ``opinion`` with the graph around it."""

    text: str
    read: list[str] = []
    opinion: list[str] = []


class Work(BaseModel):
    text: str
    pieces: list[str] = []
    notes: Append[str] = []
    compared: list[str] = []
    opinion: list[str] = []
    drafts: Append[str] = []
    rounds: int = 0
    score: int = 0
    approval: Approval | None = None
    receipt: str | None = None


ANSWER = Approval(ok=True)


def script(model: Any) -> None:
    """What goes wrong by itself in every run: a busy provider once, and one bad answer."""
    busy: Rule = model.on(f"Compare {TEXT} on pain")
    busy.fail(503, retry_after_s=0.01)
    scored: Rule = model.on(bodies.SCORE)
    scored.reply("not a number", "41")


def heard_of(ctx: Context) -> Any:
    """The conversation of this run, to which nodes of every kind append."""
    return ctx.memory.conversation(ctx.thread_id, subject="knee")


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def started(node: str, config: Any) -> None:
    current_witness.get().started(node, config)


@transition
def cut(work: Work, config: Any) -> dict[str, Any]:
    started("cut", config)
    return {"pieces": work.text.split()}


async def cut_async(work: Work, config: Any) -> dict[str, Any]:
    started("cut", config)
    return {"pieces": work.text.split()}


@llm(retry=SOON)
async def summarise(piece: str, ctx: Context, config: Any) -> dict[str, Any]:
    started("summarise", config)
    note = await bodies.ask(ctx.client, f"Summarise {piece}")
    await heard_of(ctx).append(said("assistant", note))
    return {"notes": [note]}


@llm(retry=SOON)
async def compare(work: Work, ctx: Context, config: Any) -> dict[str, Any]:
    started("compare", config)
    notes = [message.text for message in await heard_of(ctx).messages()]
    if notes != work.notes:  # invariant 3: visible before the next node runs, in the order of the branches
        raise bodies.WrongAnswer(f"The notes are {work.notes}, in memory are {notes}.")
    return {"compared": await bodies.compare(ctx.client, work.text)}


@llm(retry=SOON)
async def read(review: Review, ctx: Context, config: Any) -> dict[str, Any]:
    started("read", config)
    answers = await bodies.read(ctx.client, review.text)
    await ctx.effect(file, what=review.text)
    await heard_of(ctx).append(said("user", "Is that all?"))
    return {"read": answers}


@effect
async def file(what: str, ctx: Context) -> int:
    await heard_of(ctx).append(said("user", f"File {what}."))
    current_witness.get().attempted(f"file {what}", ctx.idempotency_key)
    return len(what)


async def weigh(review: Review, config: Any) -> dict[str, Any]:
    started("weigh", config)
    return {"opinion": review.read[::-1]}


@llm(retry=SOON)
def draft(work: Work, ctx: Context, config: Any) -> dict[str, Any]:
    started("draft", config)
    text = bodies.draft_sync(ctx.sync_client, work.rounds)
    heard_of(ctx).append_sync(said("assistant", text))
    return {"drafts": [text], "rounds": work.rounds + 1}


@llm(retry=SOON)
async def draft_async(work: Work, ctx: Context, config: Any) -> dict[str, Any]:
    started("draft", config)
    text = await bodies.draft(ctx.client, work.rounds)
    await heard_of(ctx).append(said("assistant", text))
    return {"drafts": [text], "rounds": work.rounds + 1}


@llm(retry=SOON)
async def score(work: Work, ctx: Context, config: Any) -> dict[str, Any]:
    started("score", config)
    await heard_of(ctx).append(said("assistant", "Let me see."))  # of the attempt that is kept, and no other
    return {"score": await bodies.score(ctx.client)}


@human(answer=Approval)
async def approve(work: Work, ctx: Context, config: Any) -> Question:
    started("approve", config)
    await heard_of(ctx).append(said("assistant", "Send it?"))
    return Question("Send it?", data=work.rounds)


@effect(retry=SOON)
async def publish(work: Work, ctx: Context, config: Any) -> dict[str, Any]:
    """Done by the other system, whose confirmation is lost the first time."""
    started("publish", config)
    await heard_of(ctx).append(said("assistant", "Sent."))
    if current_witness.get().attempted("publish", ctx.idempotency_key) == 1:
        raise ConnectionError("The other system hung up.")
    return {"receipt": ctx.idempotency_key}


def another_round(work: Work) -> str:
    return "again" if work.rounds < bodies.ROUNDS else "on"


def reference(*, threads: bool = True) -> Graph:
    """The graph. Without ``threads`` its sync nodes are async ones, so that one event loop decides every order."""
    first, last = (cut, draft) if threads else (cut_async, draft_async)
    inner = Graph(Review, name="review")
    inner.add_edge(START, read)
    inner.add_edge(read, weigh)
    inner.add_edge(weigh, END)
    g = Graph(Work, name="reference")
    g.add_node("cut", first)
    g.add_node("draft", last)
    g.add_edge(START, "cut")
    g.fan_out("cut", summarise, over="pieces")
    g.add_edge(summarise, compare)
    g.add_edge(compare, inner)
    g.add_edge(inner, "draft")
    g.add_conditional_edges("draft", another_round, {"again": "draft", "on": score}, max_visits=3)
    g.add_edge(score, approve)
    g.add_edge(approve, publish)
    g.add_edge(publish, END)
    return g
