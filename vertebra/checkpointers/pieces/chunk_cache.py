"""Full chunks as they were read last, so that a list that is read or written again is read from its end on.

Pieces are written once and their numbers never given again, so what is here is never wrong; it may be lost at any time.
Values that nobody can change are kept as they are; of all others the bytes, so that each reader has objects of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.checkpointers.pieces.chunks import Level
from vertebra.checkpointers.pieces.sameness import FROZEN

LIMIT_BYTES = 16_000_000

Kept = tuple[Any, ...] | bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Of items: the entries, their digests one after the other, and the values, or the bytes of their list; None if
    they are not stored together.
    """

    entries: Level
    digests: bytes
    values: Kept | None
    size_bytes: int


def kept(values: Sequence[Any], joined: bytes) -> Kept:
    """What may be remembered of values that were read from the bytes of their list."""
    return tuple(values) if FROZEN.issuperset(map(type, values)) else joined


class ChunkCache:
    """Of any number of threads, at most ``limit_bytes`` of stored bytes in all. Call it under a lock."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[tuple[int, int], Chunk] = OrderedDict()
        self._bytes = 0

    def get(self, thread: int, number: int) -> Chunk | None:
        """The chunk with this number in the thread, if it is here."""
        place = (thread, number)
        found = self._kept.get(place)
        if found is not None:
            self._kept.move_to_end(place)
        return found

    def put(self, thread: int, number: int, chunk: Chunk) -> None:
        """Keep what was read."""
        if (thread, number) not in self._kept:
            self._kept[thread, number] = chunk
            self._bytes += chunk.size_bytes
        while self._bytes > self._limit_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].size_bytes
