"""Forgetting a subject: its content goes, batch by batch, and rows stay where something else refers to them.

Each batch is a transaction that removes and counts; killed between two of them, a forget of the same subject goes on
where this one stopped. What stays is listed in decision 0018.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vertebra.databases.database import Tx
from vertebra.errors import ContentTampered, StoreCorrupt
from vertebra.memory import content, holds, items, learning, receipts, summarising
from vertebra.memory.learning import Fact
from vertebra.memory.messages import read_kept
from vertebra.memory.place import Place, Whom
from vertebra.memory.pseudonyms import pseudonym
from vertebra.memory.recall import index
from vertebra.memory.receipts import Receipt
from vertebra.memory.tombstones import tombstone, unknown

BATCH = 200

Removal = Callable[[Tx, Place], int]
"""Remove what was derived from the messages of a conversation; how many rows there were."""

DERIVED: dict[str, Removal] = {
    "entries": lambda tx, place: index.remove(tx, *place.scope),
    "summaries": summarising.remove,
}
"""By kind, what else holds content of a conversation: the one place where such a table is hooked in."""


class Forgetting:
    """A forget under way. Each call of ``more`` is one transaction."""

    def __init__(self, whom: Whom, reason: str, by: str) -> None:
        self._whom, self._reason, self._by = whom, reason, by
        self._names = (whom.subject, pseudonym(whom.subject))
        self._after = ""
        self._phases = [self._conversations, self._facts, self._items, self._holds]
        self._receipt_id: str | None = None

    def more(self, tx: Tx) -> bool:
        """One batch; whether there may be more. Raises ``SubjectHeld``."""
        self._whom.lock(tx)
        holds.require_free(tx, self._whom)
        removed = self._phases[0](tx)
        if removed is None:
            self._phases.pop(0)
        elif any(removed.values()):
            receipts.count(tx, self._whom.tenant, self._receipt(tx), removed)
        return bool(self._phases)

    def emptied(self, tx: Tx) -> Receipt:
        """The receipt once all is removed: its own, or the last one where there was nothing left to remove."""
        self._whom.lock(tx)
        index.purge(tx)
        if self._receipt_id is None and receipts.unfinished(tx, self._whom) is None:
            before = receipts.receipts(tx, self._whom.tenant, subject=self._whom.subject)
            if before:
                return before[-1]
        return self._receipt(tx)

    def _receipt(self, tx: Tx) -> Receipt:
        tenant = self._whom.tenant
        found = receipts.receipts(tx, tenant, id=self._receipt_id) if self._receipt_id else []
        if not found or found[0].ended_at is not None:
            found = [receipts.unfinished(tx, self._whom) or receipts.begin(tx, self._whom, self._reason, self._by)]
        self._receipt_id = found[0].id
        return found[0]

    def _conversations(self, tx: Tx) -> dict[str, int] | None:
        row = tx.one(
            "SELECT id FROM vertebra_memory_conversations WHERE tenant = ? AND subject IN (?, ?) AND id > ? "
            "ORDER BY id LIMIT 1",
            *(self._whom.tenant, *self._names, self._after),
        )
        if row is None:
            return None
        place = Place(self._whom.tenant, row[0])
        place.lock(tx)
        removed = {"messages": _messages(tx, place)}
        if removed["messages"] < BATCH:
            removed |= self._rest_of(tx, place)
            self._after = place.id
        return removed

    def _rest_of(self, tx: Tx, place: Place) -> dict[str, int]:
        removed = {kind: count for kind, removal in DERIVED.items() if (count := removal(tx, place))}
        removed["titles"] = tx.execute(
            "UPDATE vertebra_memory_conversations SET title = NULL WHERE tenant = ? AND id = ? AND title IS NOT NULL",
            *place.scope,
        )
        removed["tags"] = tx.execute(
            "DELETE FROM vertebra_memory_tags WHERE tenant = ? AND conversation = ?", *place.scope
        )
        tx.execute(
            "UPDATE vertebra_memory_conversations SET subject = ? WHERE tenant = ? AND id = ? AND subject = ?",
            *(self._names[1], *place.scope, self._whom.subject),
        )
        return removed

    def _facts(self, tx: Tx) -> dict[str, int] | None:
        rows = tx.all(
            "SELECT id, append_key FROM vertebra_memory_facts WHERE tenant = ? AND subject IN (?, ?) "
            "AND forgotten_at IS NULL ORDER BY id LIMIT ?",
            *(self._whom.tenant, *self._names, BATCH),
        )
        now, tenant = tx.now(), self._whom.tenant
        for number, key in rows:
            left = learning.kept(tx, tenant, Fact(int(number), self._names[1], "", None, None, None, now))
            tx.execute(
                "UPDATE vertebra_memory_facts SET subject = ?, predicate = ?, value = ?, valid_from = NULL, "
                "valid_until = NULL, conversation = NULL, message = NULL, confidence = NULL, append_key = ?, "
                "forgotten_at = ? WHERE tenant = ? AND subject IN (?, ?) AND id = ?",
                *(self._names[1], *left, _kept_key(key), now, tenant, *self._names, number),
            )
        return {"facts": len(rows)} if rows else None

    def _items(self, tx: Tx) -> dict[str, int] | None:
        """Of LangGraph's store, what lies in a namespace that has the subject as one of its labels."""
        number = items.forget(tx, self._whom.tenant, self._whom.subject)
        return {"items": number} if number else None

    def _holds(self, tx: Tx) -> None:
        """Of holds that were released the record stays, and not the name."""
        tx.execute(
            "UPDATE vertebra_memory_holds SET subject = ? WHERE tenant = ? AND subject = ?",
            *(self._names[1], self._whom.tenant, self._whom.subject),
        )


def _messages(tx: Tx, place: Place) -> int:
    rows = tx.all(
        "SELECT id, role, message, append_key FROM vertebra_memory_messages "
        "WHERE tenant = ? AND conversation = ? AND forgotten_at IS NULL ORDER BY id LIMIT ?",
        *(*place.scope, BATCH),
    )
    now = tx.now()
    for number, role, text, key in rows:
        of = (*place.scope, int(number))
        try:
            left = tombstone(content.MESSAGE.read(tx, text, read_kept, *of)).to_json()
        except (ContentTampered, StoreCorrupt):  # a row that somebody spoiled must not keep the others
            left = unknown(role).to_json()
        changed: tuple[Any, ...] = (content.MESSAGE.seal(tx, left, *of), _kept_key(key), now)
        tx.execute(
            "UPDATE vertebra_memory_messages SET message = ?, append_key = ?, forgotten_at = ? "
            "WHERE tenant = ? AND conversation = ? AND id = ?",
            *(*changed, *of),
        )
    return len(rows)


def _kept_key(key: str | None) -> str | None:
    """A key that was used stays used: what is retried after a forget does not bring the content back."""
    return None if key is None else pseudonym(key)
