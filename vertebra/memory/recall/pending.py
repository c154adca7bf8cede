"""Making the vectors that are pending: batch by batch, by any number of indexers, each text embedded once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory.recall import backlog, kinds, vectors
from vertebra.memory.recall.embedders import Embedder, unit_vectors
from vertebra.memory.recall.index import lock
from vertebra.memory.recall.steps import Beside, Reading, Steps, Transaction

CLAIM_S = 300.0
"""So long an indexer has for a batch; then others take it for dead."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What an indexer did. ``waiting``: entries without a vector yet, those that others are embedding among them."""

    embedded: int
    waiting: int


@dataclass(frozen=True, slots=True)
class _Batch:
    entries: Sequence[int]
    texts: Sequence[str]
    last: int


def embed(tenant: str, embedder: Embedder, limit: int | None, batch: int, drop_others: bool) -> Steps[Embedded]:
    """Make vectors until none is pending that nobody else is making, or ``limit`` are made.

    Killed anywhere, it has kept the batches before, and nobody waits longer than ``CLAIM_S`` for the rest.
    """
    yield from backlog.take_in(tenant)
    claimant, done, last = uuid.uuid4().hex, 0, -1
    while limit is None or done < limit:
        size = batch if limit is None else min(batch, limit - done)
        claimed = yield Transaction(lambda tx, n=size, after=last: _claim(tx, tenant, embedder, claimant, after, n))  # type: ignore[misc]
        if claimed is None:
            break
        last = claimed.last
        if not claimed.texts:
            continue
        try:
            rows = yield Beside(lambda texts=claimed.texts: unit_vectors(embedder, texts))  # type: ignore[misc]
        except BaseException:
            yield Transaction(lambda tx: _release(tx, claimant))
            raise
        made = list(zip(claimed.entries, rows, strict=True))
        done += yield Transaction(lambda tx, made=made: _put(tx, tenant, embedder, claimant, made))  # type: ignore[misc]
    waiting = yield Reading(lambda tx: vectors.waiting(tx, tenant, embedder))
    if drop_others and not waiting:
        yield Transaction(lambda tx: vectors.drop_others(tx, tenant, embedder))
    return Embedded(done, waiting)


def _claim(tx: Tx, tenant: str, embedder: Embedder, claimant: str, after: int, size: int) -> _Batch | None:
    # Else one that has just been embedded could be claimed again.
    lock(tx, tenant)
    vectors.space(tx, tenant, embedder)
    now = tx.now()
    rows = tx.all(
        "SELECT e.entry, e.kind, e.conversation, e.number FROM vertebra_memory_entries e "
        "WHERE e.tenant = ? AND e.entry > ? AND NOT EXISTS "
        "(SELECT 1 FROM vertebra_memory_vectors v WHERE v.entry = e.entry AND v.embedder = ?) AND NOT EXISTS "
        "(SELECT 1 FROM vertebra_memory_claims c WHERE c.entry = e.entry AND c.embedder = ? AND c.until > ?) "
        "ORDER BY e.entry LIMIT ?",
        *(tenant, after, embedder.name, embedder.name, now, size),
    )
    if not rows:
        return None
    mine = [
        row
        for row in rows
        if tx.execute(
            "INSERT INTO vertebra_memory_claims (entry, embedder, claimant, until) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (entry, embedder) DO UPDATE SET claimant = excluded.claimant, until = excluded.until "
            "WHERE vertebra_memory_claims.until <= ?",
            *(row[0], embedder.name, claimant, now + CLAIM_S, now),
        )
    ]
    found = kinds.texts(tx, tenant, [(str(kind), str(place), int(number)) for _, kind, place, number in mine])
    kept = [(int(row[0]), text) for row, text in zip(mine, found, strict=True) if text is not None]
    return _Batch([entry for entry, _ in kept], [text for _, text in kept], int(rows[-1][0]))


def _put(tx: Tx, tenant: str, embedder: Embedder, claimant: str, made: Sequence[tuple[int, Any]]) -> int:
    lock(tx, tenant)
    # A claim that is gone went with its entry, or to another indexer.
    mine = [
        (entry, row)
        for entry, row in made
        if tx.execute(
            "DELETE FROM vertebra_memory_claims WHERE entry = ? AND embedder = ? AND claimant = ?",
            *(entry, embedder.name, claimant),
        )
    ]
    return vectors.put(tx, tenant, embedder, mine)


def _release(tx: Tx, claimant: str) -> None:
    tx.execute("DELETE FROM vertebra_memory_claims WHERE claimant = ?", claimant)
