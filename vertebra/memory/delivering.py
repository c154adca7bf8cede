"""Delivering what nodes have appended: the outbox of a checkpoint, whole, in one transaction, and once.

Each message has a key, so that it is there once; and the checkpoint whose outbox came last is noted with it, so
that a delivery that is repeated brings nothing back that was deleted or forgotten meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory import appending, changing, lineage, reading, summarising
from vertebra.memory.appending import Draft
from vertebra.memory.lineage import Line
from vertebra.memory.messages import ChatMessage
from vertebra.memory.place import Place
from vertebra.memory.records import Message, Provenance
from vertebra.memory.summarising import Summary


@dataclass(frozen=True, slots=True)
class Posting:
    """A message on its way: kept with the state until its superstep is durable."""

    line: Line
    subject: str | None
    chat: ChatMessage
    tokens: int | None
    provenance: Provenance
    key: str | None = None
    covers: tuple[int, int] | None = None
    """No message, but the summary of those from one id to the other."""

    @property
    def message(self) -> Message:
        """As it is read where it was appended: it has no id and no time yet."""
        return Message(0, self.line.place.branch, self.chat, 0.0, self.key, self.tokens, self.provenance)

    @property
    def summary(self) -> Summary | None:
        """As a summary, if it is one."""
        if self.covers is None:
            return None
        return Summary(self.line.place.branch, *self.covers, self.chat.text, provenance=self.provenance)

    def to_plain(self) -> dict[str, Any]:
        """As data of JSON."""
        where = self.provenance
        return {
            "line": self.line.to_plain(),
            "subject": self.subject,
            "message": self.chat.to_json(),
            "tokens": self.tokens,
            "from": [where.thread, where.run, where.node, where.step, where.model],
            "key": self.key,
            "covers": None if self.covers is None else list(self.covers),
        }

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> Posting:
        """The inverse of ``to_plain``."""
        return cls(
            Line.of_plain(data["line"]),
            data["subject"],
            ChatMessage.model_validate(json.loads(data["message"])),
            data["tokens"],
            Provenance(*data["from"]),
            data["key"],
            tuple(data["covers"]) if data["covers"] else None,
        )


@dataclass(frozen=True, slots=True)
class Source:
    """The checkpoint that an outbox was durable with. ``namespace``: empty, or that of a subgraph."""

    thread: str
    namespace: str
    checkpoint: str


def deliver(tx: Tx, source: Source, postings: Sequence[Posting]) -> None:
    """Append the messages in their order, unless this checkpoint's were. Raises ``SubjectMismatch``."""
    tx.lock(json.dumps(["vertebra outbox", source.thread]))
    row = tx.one(
        "SELECT checkpoint FROM vertebra_memory_deliveries WHERE thread = ? AND namespace = ?",
        *(source.thread, source.namespace),
    )
    if row is not None and row[0] == source.checkpoint:
        return
    for place in sorted({posting.line.base for posting in postings}, key=lambda place: place.scope):
        place.lock(tx)  # in one order, or two deliveries would wait for each other
    for posting in postings:
        _append(tx, posting)
    tx.execute(
        "INSERT INTO vertebra_memory_deliveries (thread, namespace, checkpoint, at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (thread, namespace) DO UPDATE SET checkpoint = excluded.checkpoint, at = excluded.at",
        *(source.thread, source.namespace, source.checkpoint, tx.now()),
    )
    if not source.namespace:  # the subgraphs of the supersteps before have ended
        tx.execute(
            "DELETE FROM vertebra_memory_deliveries WHERE thread = ? AND namespace <> ''",
            source.thread,
        )


def _append(tx: Tx, posting: Posting) -> None:
    base = posting.line.base
    count = appending.ensure(tx, base, posting.subject)
    if posting.key is not None and appending.under_key(tx, base, posting.key) is not None:
        return
    if not reading.has_branch(tx, base):
        changing.branch(tx, Place(*base.scope), posting.subject, base.branch, 0)
    place = lineage.begin(tx, posting.line, posting.subject)
    if posting.summary is not None:
        last = reading.by_ids(tx, place, posting.subject, [posting.summary.upto])
        if last and last[0].forgotten_at is None:  # else it is a summary of what was deleted or forgotten meanwhile
            summarising.add(tx, place, posting.summary)
        return
    draft = Draft(posting.chat, posting.key, posting.tokens, posting.provenance)
    appending.add(tx, place, count, draft, tx.now())
