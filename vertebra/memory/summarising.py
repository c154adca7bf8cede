"""Summaries of the beginning of a line: which messages each of them covers, and what is to be summarised next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory import content, reading
from vertebra.memory.messages import ChatMessage, read_message
from vertebra.memory.place import Place
from vertebra.memory.recall import index
from vertebra.memory.recall.index import Entry
from vertebra.memory.recall.scope import SUMMARY
from vertebra.memory.records import Message, Provenance

_COLUMNS = "s.branch, s.low, s.high, s.text, s.at, s.thread, s.run, s.node, s.step, s.model, s.number"


@dataclass(frozen=True, slots=True)
class Summary:
    """What was said from message ``first`` to message ``upto`` of a line. ``at`` is Unix seconds."""

    branch: str
    first: int
    upto: int
    text: str
    at: float = 0.0
    provenance: Provenance = field(default_factory=Provenance)
    id: int = field(default=0, compare=False)
    """Its number in the conversation, by which a search names it; 0 until it is kept."""

    @property
    def chat(self) -> ChatMessage:
        """As it stands in a window."""
        return read_message({"role": "system", "content": f"Summary of the conversation so far:\n{self.text}"})


def latest(tx: Tx, place: Place, before: int | None) -> Summary | None:
    """The summary that covers most of a line, of what comes before message ``before``."""
    bound = "" if before is None else "AND s.high < ? "
    row = tx.one(
        f"{reading.LINE} SELECT {_COLUMNS} FROM vertebra_memory_summaries s CROSS JOIN line WHERE s.tenant = ? "
        f"AND s.conversation = ? AND s.branch = line.branch AND s.high <= line.high {bound}"
        "ORDER BY s.high DESC LIMIT 1",
        *(*place.scope, place.branch, *place.scope, *place.scope, *(() if before is None else (before,))),
    )
    return None if row is None else _summary(tx, place, row)


def ending(tx: Tx, place: Place, upto: int) -> Summary | None:
    """The summary of a branch that ends with message ``upto``."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM vertebra_memory_summaries s "
        "WHERE s.tenant = ? AND s.conversation = ? AND s.branch = ? AND s.high = ?",
        *(*place.scope, place.branch, upto),
    )
    return None if row is None else _summary(tx, place, row)


def of_line(tx: Tx, place: Place, subject: str | None) -> list[Summary]:
    """All summaries of a line, oldest first."""
    if not reading.exists(tx, place, subject):
        return []
    rows = tx.all(
        f"{reading.LINE} SELECT {_COLUMNS} FROM vertebra_memory_summaries s CROSS JOIN line WHERE s.tenant = ? "
        "AND s.conversation = ? AND s.branch = line.branch AND s.high <= line.high ORDER BY s.high, s.branch",
        *(*place.scope, place.branch, *place.scope, *place.scope),
    )
    return [_summary(tx, place, row) for row in rows]


def of_conversation(tx: Tx, place: Place, upto: int) -> list[Summary]:
    """All summaries on whatever branch, of messages up to ``upto``."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM vertebra_memory_summaries s WHERE s.tenant = ? AND s.conversation = ? "
        "AND s.high <= ? ORDER BY s.high, s.branch",
        *(*place.scope, upto),
    )
    return [_summary(tx, place, row) for row in rows]


def add(tx: Tx, place: Place, summary: Summary, at: float | None = None) -> None:
    """Keep a summary, the first that ends where it ends, and let it be found; the conversation is locked."""
    where, made_at = summary.provenance, tx.now() if at is None else at
    row = tx.one(
        "SELECT max(number) FROM vertebra_memory_summaries WHERE tenant = ? AND conversation = ?", *place.scope
    )
    number = 1 + (0 if row is None or row[0] is None else int(row[0]))
    if tx.execute(
        "INSERT INTO vertebra_memory_summaries (tenant, conversation, branch, low, high, text, at, thread, run, node, "
        "step, model, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, conversation, branch, high) DO NOTHING",
        *(*place.scope, place.branch, summary.first, summary.upto),
        content.SUMMARY.seal(tx, summary.text, *place.scope, place.branch, summary.upto),
        *(made_at, where.thread, where.run, where.node, where.step, where.model, number),
    ):
        said = (number, place.branch, "system", made_at, summary.text)
        index.add(tx, Entry(place.tenant, SUMMARY, place.id, *said))


def remove(tx: Tx, place: Place) -> int:
    """Remove all summaries of a conversation; how many there were."""
    return tx.execute("DELETE FROM vertebra_memory_summaries WHERE tenant = ? AND conversation = ?", *place.scope)


def blocks(messages: Sequence[Message], sizes: Sequence[int], keep: int, most: int) -> list[list[Message]]:
    """The messages that are to be summarised, in blocks of at most ``most`` tokens: all but the newest ``keep`` ones.

    A tool's answer is not parted from its call.
    """
    left, end = 0, len(messages)
    while end and left + sizes[end - 1] <= keep:
        left += sizes[end - 1]
        end -= 1
    while 0 < end < len(messages) and messages[end].role == "tool":
        end -= 1
    found: list[list[Message]] = []
    size = 0
    for message, tokens in zip(messages[:end], sizes, strict=False):
        if not found or (size + tokens > most and message.role != "tool"):
            found.append([])
            size = 0
        found[-1].append(message)
        size += tokens
    return found


def _summary(tx: Tx, place: Place, row: Sequence[Any]) -> Summary:
    branch, low, high, text, made_at, thread, run, node, step, model, number = row
    where = Provenance(thread, run, node, None if step is None else int(step), model)
    said = content.SUMMARY.unseal(tx, text, *place.scope, branch, int(high))
    return Summary(branch, int(low), int(high), said, float(made_at), where, int(number))
