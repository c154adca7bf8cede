"""The values of full chunks as they were read last, so that a list that is read again is read from its end on.

Pieces are written once and their numbers never given again, so what is here is never wrong; it may be lost at any time.
Values that nobody can change are kept as they are; of all others the bytes, so that each reader has objects of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from vertebra.checkpointers.pieces.encoding import FROZEN

LIMIT_BYTES = 16_000_000

Kept = tuple[Any, ...] | bytes


class ChunkCache:
    """Of any number of threads, at most ``limit_bytes`` of stored bytes in all. Call it under a lock."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[tuple[int, int], tuple[Kept, int]] = OrderedDict()
        self._bytes = 0

    def get(self, thread: int, chunk: int) -> Kept | None:
        """The values in order, or the bytes of their list; None if they are not here."""
        place = (thread, chunk)
        found = self._kept.get(place)
        if found is None:
            return None
        self._kept.move_to_end(place)
        return found[0]

    def put(self, thread: int, chunk: int, values: list[Any], stored: bytes) -> None:
        """Keep what was read."""
        frozen = all(map(FROZEN.__contains__, map(type, values)))
        if (thread, chunk) not in self._kept:
            self._kept[thread, chunk] = (tuple(values) if frozen else stored, len(stored))
            self._bytes += len(stored)
        while self._bytes > self._limit_bytes:
            self._bytes -= self._kept.popitem(last=False)[1][1]
