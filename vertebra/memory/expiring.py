"""Time to live: conversations whose time is up are deleted, but for those on hold, and items of LangGraph's store."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vertebra.databases.database import Tx
from vertebra.errors import SubjectHeld
from vertebra.memory import changing, items
from vertebra.memory.place import Place
from vertebra.memory.recall import index


@dataclass(frozen=True, slots=True)
class Expired:
    """What an ``expire`` did: what is gone, by kind, and ``held``: conversations that a hold has kept."""

    conversations: int
    messages: int
    held: int
    items: int = 0


class Expiry:
    """An expire under way. Each call of ``more`` is one transaction, which deletes one conversation or none."""

    def __init__(self, tenant: str, default_ttl_s: float | None) -> None:
        self._tenant, self._default_ttl_s = tenant, default_ttl_s
        self._after = ""
        self.done = Expired(0, 0, 0)

    def more(self, tx: Tx) -> bool:
        """The next conversation; whether there was one. It may have been written to since it was found."""
        due = (
            "FROM vertebra_memory_conversations WHERE tenant = ? AND updated_at + coalesce(ttl_s, ?) <= ?",
            (self._tenant, self._default_ttl_s, tx.now()),
        )
        found = tx.one(f"SELECT id {due[0]} AND id > ? ORDER BY id LIMIT 1", *due[1], self._after)
        if found is None:
            index.purge(tx)  # even if nothing was due: who was killed before may not have come to it
            self.done = replace(self.done, items=items.expire(tx, self._tenant))
            return False
        place = Place(self._tenant, found[0])
        place.lock(tx)
        self._after = place.id
        row = tx.one(f"SELECT messages {due[0]} AND id = ?", *due[1], place.id)
        if row is not None:
            self._delete(tx, place, int(row[0]))
        return True

    def _delete(self, tx: Tx, place: Place, messages: int) -> None:
        done = self.done
        try:
            changing.delete(tx, place, None)
            self.done = replace(done, conversations=done.conversations + 1, messages=done.messages + messages)
        except SubjectHeld:
            self.done = replace(done, held=done.held + 1)
