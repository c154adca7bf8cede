"""Totals of a tenant's entries: how many there are and how long they are, counted once and then by what is new."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from vertebra.databases.database import Tx

MEANT = 1_000
"""The mean length of an entry is that of a tenant's newest ones."""

KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Total:
    """``upto`` is the newest entry, ``removed`` grows with each removal: both as they were when this was counted."""

    entries: int
    mean_length: float
    upto: int
    removed: int


class Totals:
    """What an open memory has counted, for the tenants that asked last. Exact, and safe in any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Total] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tx: Tx, tenant: str) -> Total:
        """The totals as this transaction sees them."""
        removed = _removed(tx, tenant)
        with self._lock:
            known = self._kept.get(tenant)
        # On Postgres an entry may become visible after one with a higher number.
        if known is None or known.removed != removed or tx.backend == "postgresql":
            known = Total(0, 0.0, -1, removed)
        row = tx.one(
            "SELECT count(*), max(entry) FROM vertebra_memory_entries WHERE tenant = ? AND entry > ?",
            *(tenant, known.upto),
        )
        if row is None or not row[0]:
            return known
        total = Total(known.entries + int(row[0]), _mean_length(tx, tenant), int(row[1]), removed)
        with self._lock:
            self._kept[tenant] = total
            self._kept.move_to_end(tenant)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return total


def note_removal(tx: Tx, tenant: str) -> None:
    """Let all who have counted count anew."""
    tx.execute(
        "INSERT INTO vertebra_memory_removals (tenant, removed) VALUES (?, 1) "
        "ON CONFLICT (tenant) DO UPDATE SET removed = vertebra_memory_removals.removed + 1",
        tenant,
    )


def _removed(tx: Tx, tenant: str) -> int:
    row = tx.one("SELECT removed FROM vertebra_memory_removals WHERE tenant = ?", tenant)
    return 0 if row is None else int(row[0])


def _mean_length(tx: Tx, tenant: str) -> float:
    mean = tx.one(
        "SELECT avg(length) FROM (SELECT length FROM vertebra_memory_entries WHERE tenant = ? "
        "ORDER BY entry DESC LIMIT ?) AS newest",
        *(tenant, MEANT),
    )
    return float(mean[0]) if mean and mean[0] is not None else 0.0
