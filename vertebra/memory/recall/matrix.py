"""Matrices of vectors in this process: read once, grown by what is new, read anew after a removal."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory.recall import vectors
from vertebra.memory.recall.embedders import Embedder, numpy

KEPT_BYTES = 1_000_000_000
"""Matrices of the tenants that asked last are kept within this."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The vectors of a tenant by one embedder: ``rows[i]``, of length one, is number ``numbers[i]``."""

    numbers: Any
    rows: Any
    removed: int

    def nearest(self, vector: Any, depth: int, allowed: Any = None) -> list[tuple[int, float]]:
        """The numbers of the rows nearest to a vector of length one, with their cosines, best first."""
        np = numpy()
        cosines = self.rows @ vector
        if allowed is not None:
            cosines = np.where(np.isin(self.numbers, allowed), cosines, -np.inf)
        depth = min(depth, len(cosines))
        chosen = np.argpartition(-cosines, depth - 1)[:depth] if depth < len(cosines) else np.arange(len(cosines))
        order = chosen[np.lexsort((-self.numbers[chosen], -cosines[chosen]))]
        return [(int(self.numbers[i]), float(cosines[i])) for i in order if cosines[i] != -np.inf]


class _Growing:
    """Rows with room to grow. What a ``Matrix`` shows of it is never written again."""

    def __init__(self, dimensions: int, removed: int) -> None:
        np = numpy()
        self.removed, self.count = removed, 0
        self.numbers, self.rows = np.empty(0, np.int64), np.empty((0, dimensions), np.float32)

    def add(self, numbers: list[int], rows: Any) -> None:
        np, count = numpy(), self.count + len(numbers)
        if count > len(self.numbers):
            room = count if not self.count else max(count, self.count * 3 // 2)
            for name, shape in (("numbers", (room,)), ("rows", (room, self.rows.shape[1]))):
                old = getattr(self, name)
                new = np.empty(shape, old.dtype)
                new[: self.count] = old[: self.count]
                setattr(self, name, new)
        self.numbers[self.count : count], self.rows[self.count : count] = numbers, rows
        self.count = count

    def shown(self) -> Matrix:
        return Matrix(self.numbers[: self.count], self.rows[: self.count], self.removed)


class Matrices:
    """The matrices of an open memory. Safe in any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Growing] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, tx: Tx, tenant: str, embedder: Embedder) -> Matrix | None:
        """The vectors as this transaction sees them; None where there are none. Raises ``EmbedderMismatch``."""
        # Before the rows: what is removed in between is seen by the next who asks.
        space = vectors.space(tx, tenant, embedder)
        if space is None:
            return None
        key = (tenant, embedder.name)
        with self._lock:
            growing = self._kept.get(key)
            if growing is None or growing.removed != space.removed:
                growing = self._kept[key] = _Growing(space.dimensions, space.removed)
            last = int(growing.numbers[growing.count - 1]) if growing.count else 0
            if last < space.last:
                growing.add(*vectors.after(tx, tenant, embedder, last))
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(one.rows.nbytes for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            return growing.shown()
