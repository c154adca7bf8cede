"""Legal holds: while one is on a subject, nothing of it is forgotten, deleted or let expire."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.errors import HoldNotFound, SubjectHeld
from vertebra.memory import content
from vertebra.memory.place import Whom
from vertebra.memory.pseudonyms import pseudonym

COLUMNS = "h.id, h.subject, h.reason, h.placed_by, h.placed_at, h.released_by, h.released_at"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a subject is to be kept, and until when it was. Times are Unix seconds; ``released_at`` None: it stands."""

    id: str
    subject: str
    reason: str
    placed_by: str
    placed_at: float
    released_by: str | None = None
    released_at: float | None = None


def hold_of(tx: Tx, tenant: str, row: Sequence[Any]) -> Hold:
    """From a row of ``COLUMNS``. Raises ``EncryptionError``."""
    id, subject, reason, *rest = row
    return Hold(id, subject, content.HOLD.unseal(tx, reason, tenant, id), *rest)


def place_hold(tx: Tx, whom: Whom, reason: str, by: str) -> Hold:
    """Place another hold on the subject; the same reason by the same person again: the one that stands."""
    whom.lock(tx)
    for hold in holds(tx, whom.tenant, subject=whom.subject):
        if (hold.reason, hold.placed_by) == (reason, by):
            return hold
    hold = Hold(secrets.token_hex(8), whom.subject, reason, by, tx.now())
    insert(tx, whom.tenant, hold)
    return hold


def insert(tx: Tx, tenant: str, hold: Hold) -> None:
    """Write the row of a hold."""
    tx.execute(
        "INSERT INTO vertebra_memory_holds (tenant, id, subject, reason, placed_by, placed_at, released_by, "
        "released_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(tenant, hold.id, hold.subject, content.HOLD.seal(tx, hold.reason, tenant, hold.id)),
        *(hold.placed_by, hold.placed_at),
        *(hold.released_by, hold.released_at),
    )


def release(tx: Tx, tenant: str, id: str, by: str) -> Hold:
    """End a hold, once: who ended it first stands. Raises ``HoldNotFound``."""
    tx.execute(
        "UPDATE vertebra_memory_holds SET released_by = ?, released_at = ? "
        "WHERE tenant = ? AND id = ? AND released_at IS NULL",
        *(by, tx.now(), tenant, id),
    )
    found = holds(tx, tenant, id=id, released=True)
    if not found:
        raise HoldNotFound(f"There is no hold {id!r} here.", hold=id)
    return found[0]


def holds(
    tx: Tx, tenant: str, *, subject: str | None = None, id: str | None = None, released: bool = False
) -> list[Hold]:
    """A tenant's holds, oldest first: those that stand, or all."""
    where, values = "h.tenant = ?", [tenant]
    for column, value in (("subject", subject), ("id", id)):
        if value is not None:
            where += f" AND h.{column} = ?"
            values.append(value)
    if not released:
        where += " AND h.released_at IS NULL"
    rows = tx.all(f"SELECT {COLUMNS} FROM vertebra_memory_holds h WHERE {where} ORDER BY h.placed_at, h.id", *values)
    return [hold_of(tx, tenant, row) for row in rows]


def require_free(tx: Tx, whom: Whom) -> None:
    """Raise ``SubjectHeld``, which names the holds: those on who was forgotten, and has returned, too.

    Reasons stay sealed: one that somebody spoiled must not keep others from being forgotten.
    """
    name = pseudonym(whom.subject)
    rows = tx.all(
        "SELECT id, subject FROM vertebra_memory_holds WHERE tenant = ? AND released_at IS NULL ORDER BY placed_at, id",
        whom.tenant,
    )
    standing = [id for id, subject in rows if pseudonym(subject) == name]
    if standing:
        raise SubjectHeld(f"{whom.subject!r} is kept by legal hold {', '.join(standing)}.", holds=standing)
