"""Matrices of vectors in this process: read once, grown by what is new, read anew after a removal.

A vector is a column of a block. Over 100,000 vectors of 384 dimensions, a row times such blocks takes a third to a half
of what rows times a column take, and blocks this small stay on one core: where cores are shared, BLAS threads
that wait for each other took ten times as long.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory.recall import vectors
from vertebra.memory.recall.embedders import Embedder, numpy

KEPT_BYTES = 1_000_000_000
"""Matrices of the tenants that asked last are kept within this."""

BLOCK, FIRST_BLOCK = 1_024, 16
"""So many vectors are in a block; the last one grows from so few."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The vectors of a tenant by one embedder: column ``i`` of the blocks is of entry ``entries[i]``.

    ``numbers[i]`` tells which of two became visible first.
    """

    numbers: Any
    entries: Any
    blocks: Sequence[Any]

    def __len__(self) -> int:
        return len(self.entries)

    def cosines(self, vector: Any) -> Any:
        """Of each column with a vector of length one."""
        np = numpy()
        return np.concatenate([vector @ block for block in self.blocks]) if self.blocks else np.empty(0, np.float32)

    def nearest(self, cosines: Any, depth: int, allowed: Any = None) -> list[tuple[int, float]]:
        """The entries, of all or of the ``allowed`` ones, with the highest cosines, best first."""
        np = numpy()
        if allowed is not None:
            cosines = np.where(np.isin(self.entries, allowed), cosines, -np.inf)
        depth = min(depth, len(cosines))
        chosen = np.argpartition(-cosines, depth - 1)[:depth] if depth < len(cosines) else np.arange(len(cosines))
        order = chosen[np.lexsort((-self.numbers[chosen], -cosines[chosen]))]
        return [(int(self.entries[i]), float(cosines[i])) for i in order if cosines[i] != -np.inf]


class _Growing:
    """Blocks with room to grow. What a ``Matrix`` shows of them is never written again."""

    def __init__(self, dimensions: int, removed: int) -> None:
        np = numpy()
        self.removed, self.count, self.dimensions = removed, 0, dimensions
        self.numbers, self.entries = np.empty(0, np.int64), np.empty(0, np.int64)
        self.blocks: list[Any] = []

    @property
    def last(self) -> int:
        return int(self.numbers[-1]) if self.count else 0

    @property
    def size_bytes(self) -> int:
        return sum(block.nbytes for block in self.blocks)

    def add(self, numbers: Sequence[int], entries: Sequence[int], rows: Any) -> None:
        np = numpy()
        self.numbers = np.concatenate([self.numbers, np.asarray(numbers, np.int64)])
        self.entries = np.concatenate([self.entries, np.asarray(entries, np.int64)])
        done = 0
        while done < len(rows):
            filled = self.count % BLOCK
            if not filled:
                self.blocks.append(np.empty((self.dimensions, min(BLOCK, FIRST_BLOCK)), np.float32))
            new = min(BLOCK - filled, len(rows) - done)
            room = self.blocks[-1].shape[1]
            if filled + new > room:
                grown = np.empty((self.dimensions, min(BLOCK, max(filled + new, 2 * room))), np.float32)
                grown[:, :filled] = self.blocks[-1][:, :filled]
                self.blocks[-1] = grown
            self.blocks[-1][:, filled : filled + new] = rows[done : done + new].T
            self.count += new
            done += new

    def shown(self) -> Matrix:
        if not self.count:
            return Matrix(self.numbers, self.entries, ())
        filled = (self.count - 1) % BLOCK + 1
        return Matrix(self.numbers, self.entries, (*self.blocks[:-1], self.blocks[-1][:, :filled]))


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
            if growing.last < space.last:
                growing.add(*vectors.after(tx, tenant, embedder, growing.last))
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(one.size_bytes for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            return growing.shown()
