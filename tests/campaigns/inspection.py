"""What a store holds of a thread, read past the runtime: its calls, and its checkpoints with the writes they follow."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from typing import Any

from vertebra import open_memory
from vertebra.checkpointers.opening import Store
from vertebra.memory import Memory
from vertebra.types import RecordedAnswer

NUMBER = re.compile(r" #(\d+)")
"""What sets each answer of a sampled model apart."""


async def calls_of(store: Store, thread: str) -> list[dict[str, Any]]:
    """Each call in the journal: its key, how it stands, what it was told."""
    return [
        {
            "key": call.key.idempotency_key,
            "kind": call.kind,
            "epoch": call.key.epoch,
            "status": call.status,
            "lost": call.lost,
            "in_doubt": call.status == "intent" and len(call.attempts) < call.sends,
            "answer": None if call.answer is None else text_of(call.answer),
        }
        for call in await store.journal.calls(thread)
    ]


async def checkpoints_of(store: Store, thread: str) -> list[dict[str, Any]]:
    """Each checkpoint: where it stands, and which tasks have writes under its parent."""
    found = [tuple_ async for tuple_ in store.saver.alist({"configurable": {"thread_id": thread}})]
    writers = {_id(tuple_.config): sorted({task for task, *_ in tuple_.pending_writes or ()}) for tuple_ in found}
    return [
        {
            "loop": tuple_.config["configurable"].get("checkpoint_ns", ""),
            "step": tuple_.metadata["step"],
            "wrote": [] if tuple_.parent_config is None else writers.get(_id(tuple_.parent_config), []),
        }
        for tuple_ in found
    ]


def said_in(memory: str | Memory, thread: str) -> list[dict[str, Any]]:
    """Each message of the run's conversation: what, by which node, in which superstep."""
    with open_memory(memory) if isinstance(memory, str) else nullcontext(memory) as opened:
        found = opened.conversation(thread).messages_sync()
    return [
        {"role": m.role, "text": m.text, "key": m.key, "node": m.provenance.node, "step": m.provenance.step}
        for m in found
    ]


def _id(config: Any) -> str:
    return str(config["configurable"]["checkpoint_id"])


def text_of(answer: RecordedAnswer) -> str:
    """What the model said, whole or streamed; of an effect, its result."""
    body = answer.body.decode()
    if not body.startswith("data:"):
        data = json.loads(body)
        return str(data["choices"][0]["message"]["content"]) if isinstance(data, dict) and "choices" in data else body
    events = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def plain(value: Any) -> Any:
    """A state without what depends on the sample: what runs of one graph have in common."""
    if isinstance(value, str):
        return NUMBER.sub("", value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "receipt"}
    return value


def numbers(value: Any) -> list[int]:
    """Which samples a state is made of."""
    return sorted(int(number) for number in NUMBER.findall(json.dumps(value)))
