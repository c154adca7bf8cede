"""Vectors as they are kept: one of each embedder for an entry, numbered in the order in which they became visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.errors import EmbedderMismatch
from vertebra.memory.content import VECTOR, Part
from vertebra.memory.recall.embedders import Embedder, numpy
from vertebra.memory.recall.index import lock
from vertebra.memory.recall.scope import Scope


@dataclass(frozen=True, slots=True)
class Space:
    """What a tenant has of an embedder's vectors. ``last``: the newest number; ``removed`` grows with each removal."""

    dimensions: int
    last: int
    removed: int


def space(tx: Tx, tenant: str, embedder: Embedder) -> Space | None:
    """None where nothing is embedded yet. Raises ``EmbedderMismatch``."""
    row = tx.one(
        "SELECT dimensions, last, removed FROM vertebra_memory_spaces WHERE tenant = ? AND embedder = ?",
        *(tenant, embedder.name),
    )
    if row is None:
        return None
    if int(row[0]) != embedder.dimensions:
        raise EmbedderMismatch(
            f"The vectors of {embedder.name!r} have {int(row[0])} dimensions here, not {embedder.dimensions}.",
            embedder=embedder.name,
        )
    return Space(int(row[0]), int(row[1]), int(row[2]))


def require_comparable(tx: Tx, tenant: str, embedder: Embedder) -> None:
    """Raise ``EmbedderMismatch`` where all vectors there are were made by others."""
    rows = tx.all("SELECT DISTINCT embedder FROM vertebra_memory_vectors WHERE tenant = ?", tenant)
    others = sorted(str(row[0]) for row in rows)
    if others and embedder.name not in others:
        raise EmbedderMismatch(
            f"Nothing here is embedded by {embedder.name!r}, but by {', '.join(map(repr, others))}.",
            embedder=embedder.name,
        )


def put(tx: Tx, tenant: str, embedder: Embedder, vectors: Sequence[tuple[int, Any]]) -> int:
    """Write vectors of entries that are there and have none by this embedder; how many were written."""
    lock(tx, tenant)
    there = space(tx, tenant, embedder)
    if there is None:
        there = Space(embedder.dimensions, 0, 0)
        tx.execute(
            "INSERT INTO vertebra_memory_spaces (tenant, embedder, dimensions, last, removed) VALUES (?, ?, ?, 0, 0)",
            *(tenant, embedder.name, embedder.dimensions),
        )
    last = there.last
    column, cast = ("vector", "?::real[]") if tx.backend == "postgresql" and not tx.seals.on else (_bytes_in(tx), "?")
    for entry, vector in vectors:
        last += tx.execute(
            f"INSERT INTO vertebra_memory_vectors (tenant, embedder, number, entry, {column}) "
            f"SELECT tenant, ?, ?, entry, {cast} "
            "FROM vertebra_memory_entries WHERE tenant = ? AND entry = ? ON CONFLICT DO NOTHING",
            *(embedder.name, last + 1, _kept(tx, vector, tenant, embedder.name, entry), tenant, entry),
        )
    tx.execute(
        "UPDATE vertebra_memory_spaces SET last = ? WHERE tenant = ? AND embedder = ?", last, tenant, embedder.name
    )
    return last - there.last


def drop_others(tx: Tx, tenant: str, embedder: Embedder) -> int:
    """Remove the vectors of all other embedders; how many there were."""
    dropped = tx.execute(
        "DELETE FROM vertebra_memory_vectors WHERE tenant = ? AND embedder <> ?", tenant, embedder.name
    )
    tx.execute(
        "UPDATE vertebra_memory_spaces SET removed = removed + 1 WHERE tenant = ? AND embedder <> ?",
        *(tenant, embedder.name),
    )
    return dropped


def waiting(tx: Tx, tenant: str, embedder: Embedder) -> int:
    """How many entries of a tenant this embedder has made no vector of."""
    row = tx.one("SELECT count(*) FROM vertebra_memory_entries WHERE tenant = ?", tenant)
    return (int(row[0]) if row else 0) - count(tx, tenant, embedder)


def count(tx: Tx, tenant: str, embedder: Embedder) -> int:
    """How many vectors of this embedder a tenant has."""
    row = tx.one(
        "SELECT count(*) FROM vertebra_memory_vectors WHERE tenant = ? AND embedder = ?", tenant, embedder.name
    )
    return int(row[0]) if row else 0


def waiting_of(tx: Tx, tenant: str, subject: str, embedder: Embedder) -> int:
    """How many entries of a subject this embedder has made no vector of."""
    where, values = Scope(tenant, subject).where()
    row = tx.one(
        f"SELECT count(*) FROM vertebra_memory_entries e WHERE {where} AND NOT EXISTS "
        "(SELECT 1 FROM vertebra_memory_vectors v WHERE v.entry = e.entry AND v.embedder = ?)",
        *(*values, embedder.name),
    )
    return int(row[0]) if row else 0


def after(tx: Tx, tenant: str, embedder: Embedder, number: int) -> tuple[list[int], list[int], Any]:
    """The numbers of the vectors after this one, the entries that they are of, and their rows."""
    as_array = tx.backend == "postgresql" and not tx.seals.on
    column = "array_send(vector)" if as_array else _bytes_in(tx)
    rows = tx.all(
        f"SELECT number, entry, {column} FROM vertebra_memory_vectors WHERE tenant = ? AND embedder = ? AND number > ? "
        "ORDER BY number",
        *(tenant, embedder.name, number),
    )
    kept = [row[2] if as_array else VECTOR.unseal_bytes(tx, row[2], tenant, embedder.name, int(row[1])) for row in rows]
    return [int(row[0]) for row in rows], [int(row[1]) for row in rows], _read(kept, embedder.dimensions, as_array)


def _bytes_in(tx: Tx) -> str:
    """The column for bytes: on Postgres what is sealed is no array."""
    return "sealed" if tx.backend == "postgresql" else "vector"


def _kept(tx: Tx, vector: Any, *of: Part) -> Any:
    if tx.backend == "postgresql" and not tx.seals.on:
        return [float(x) for x in vector]
    return VECTOR.seal_bytes(tx, vector.astype("<f4").tobytes(), *of)


_ARRAY_HEAD_BYTES = 20
"""Dimensions, flags, type, length and lower bound of an array as Postgres sends it; then size and value of each."""


def _read(kept: Sequence[bytes], dimensions: int, as_array: bool) -> Any:
    np = numpy()
    if not as_array:
        return np.frombuffer(b"".join(kept), dtype="<f4").reshape(len(kept), dimensions)
    values = b"".join(bytes(one)[_ARRAY_HEAD_BYTES:] for one in kept)
    pairs = np.frombuffer(values, dtype=np.dtype([("size", ">i4"), ("value", ">f4")]))
    return pairs["value"].astype(np.float32).reshape(len(kept), dimensions)
