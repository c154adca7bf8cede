"""From references back to values: pieces are fetched level by level, and items are revived together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from vertebra.checkpointers.pieces.chunk_cache import ChunkCache
from vertebra.checkpointers.pieces.chunks import Entry, Level, spread
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.encoding import DICT, NO_DIGEST, PIECE, digest_of
from vertebra.errors import StoreCorrupt

Fetch = Callable[[Sequence[int]], Iterable[tuple[int, bytes]]]
"""What is stored under these numbers, of one thread: each number with its piece, in any order."""


class Decoder:
    """Reads one thread's pieces, with the codec of that thread. ``cache`` serves several states that share pieces.

    ``chunks``: what is remembered of full chunks, whose ``thread`` this is.
    """

    def __init__(
        self,
        codec: Codec,
        fetch: Fetch,
        cache: dict[Entry, bytes] | None = None,
        *,
        chunks: ChunkCache | None = None,
        thread: int = 0,
    ) -> None:
        self._codec = codec
        self._fetch = fetch
        self._cache = cache
        self._seen = None if chunks is None else partial(chunks.get, thread)
        self._keep = None if chunks is None else partial(chunks.put, thread)

    def head(self, stored: bytes, *place: str | int | None) -> Any:
        """The record in the row at ``place``, or the number of the piece that has it."""
        return self._codec.load(self._codec.unseal(stored, *place))

    def record(self, stored: bytes, *place: str | int | None) -> Any:
        """What ``Encoder.packed`` was given for this place."""
        record = self.head(stored, *place)
        return self._codec.load(self.plain([record])[record]) if isinstance(record, int) else record

    def values(self, refs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of channels."""
        self.warm(refs.values())
        return {name: self.value(ref) for name, ref in refs.items()}

    def warm(self, refs: Iterable[Any]) -> None:
        """Fetch at once, for the cache, whatever the references name themselves, but for chunks that are remembered."""
        if self._cache is not None:
            digits = [digit for ref in refs for digit in (ref[1] if isinstance(ref, list) else [[ref]])]
            named = (entry for digit in digits for entry in digit if isinstance(entry, int))
            self.plain(number for number in named if self._seen is None or self._seen(number) is None)

    def value(self, ref: Any) -> Any:
        """One value, made anew."""
        if not isinstance(ref, list):
            return self._codec.load(self.plain([ref])[ref])
        kind, digits = ref
        items = self._items(digits)
        return dict(zip(items[::2], items[1::2], strict=True)) if kind == DICT else items

    def sequence(self, digits: Sequence[Level]) -> tuple[list[Level], list[bytes | None]]:
        """All levels of a list, and the digests of its items."""
        above, chunks = self._leaves(digits)
        plain = self.plain(digits[0])
        known = b"".join(chunk[1] for chunk in chunks)
        digests = [known[at : at + 16] for at in range(0, len(known), 16)]
        tail = [NO_DIGEST if isinstance(entry, bytes) else digest_of(plain[entry]) for entry in digits[0]]
        entries = [entry for chunk in chunks for entry in chunk[0]] + list(digits[0])
        return [entries, *above], [None if digest == NO_DIGEST else digest for digest in digests + tail]

    def _leaves(self, digits: Sequence[Level]) -> tuple[list[Level], list[Any]]:
        """The levels of chunks, and the chunks of items: entries, digests, and all their values if these are joined."""
        above = spread(digits[1:], self._chunks)
        numbers = above[0] if above else []
        records = self._chunks(numbers) if numbers else {}
        return above, [records[number] for number in numbers]

    def _items(self, digits: Sequence[Level]) -> list[Any]:
        above = spread(digits[1:], self._chunks)
        numbers: list[Any] = list(above[0]) if above else []
        known = {} if self._seen is None else {n: seen for n in numbers if (seen := self._seen(n)) is not None}
        new = [number for number in numbers if number not in known]
        chunks = self._chunks(new) if new else {}
        apart = (entry for chunk in chunks.values() if chunk[2] is None for entry in chunk[0])
        plain = self.plain([*apart, *digits[0]])
        items: list[Any] = []
        for number in numbers:
            seen = known.get(number)
            if seen is None:
                items += self._values(number, chunks[number], plain)
            else:
                items += self._codec.load(seen) if isinstance(seen, bytes) else seen
        return items + self._codec.load_all([plain[entry] for entry in digits[0]])

    def _values(self, number: int, chunk: Any, plain: Mapping[Entry, bytes]) -> list[Any]:
        entries, _, joined = chunk
        if joined is None:
            return self._codec.load_all([plain[entry] for entry in entries])
        values: list[Any] = self._codec.load(joined)
        if self._keep is not None:
            self._keep(number, values, joined)
        return values

    def plain(self, entries: Iterable[Entry]) -> dict[Entry, bytes]:
        """The typed bytes of each entry. Raises ``StoreCorrupt`` when a piece is not there."""
        found: dict[Entry, bytes] = {}
        wanted: list[int] = []
        for entry in entries:
            if isinstance(entry, bytes):
                found[entry] = entry
            elif self._cache is not None and entry in self._cache:
                found[entry] = self._cache[entry]
            else:
                wanted.append(entry)
        if wanted:
            fetched: dict[Entry, bytes] = {n: self._codec.unseal(data, PIECE, n) for n, data in self._fetch(wanted)}
            if missing := set(wanted) - fetched.keys():
                raise StoreCorrupt(f"The state refers to pieces that are not in the database: {sorted(missing)[:5]}.")
            found.update(fetched)
            if self._cache is not None:
                self._cache.update(fetched)
        return found

    def reachable(self, refs: Iterable[Any]) -> Iterator[int]:
        """The numbers of all pieces that the references need, chunks among them."""
        for ref in refs:
            if isinstance(ref, int):
                yield ref
            elif isinstance(ref, list):
                above, chunks = self._leaves(ref[1])
                for level in (*above, *ref[1], *(chunk[0] for chunk in chunks)):
                    yield from (entry for entry in level if isinstance(entry, int))

    def _chunks(self, numbers: Sequence[Entry]) -> dict[Entry, Any]:
        return {number: self._codec.load(plain) for number, plain in self.plain(numbers).items()}
