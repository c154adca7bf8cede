"""From references back to values: pieces are fetched level by level, and a chunk becomes values as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.chunk_cache import Chunk, ChunkCache, kept
from vertebra.checkpointers.pieces.chunks import Entry, Level, spread
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.encoding import DICT, NO_DIGEST, PIECE, digest_of
from vertebra.errors import StoreCorrupt

Fetch = Callable[[Sequence[int]], Iterable[tuple[int, bytes]]]
"""What is stored under these numbers, of one thread: each number with its piece, in any order."""


class Decoder:
    """Reads one thread's pieces, with the codec of that thread, each once: for several states that share pieces.

    Rows that are not as they were written are ``StoreCorrupt``; what reads by references of a row does so ``legible``.
    ``chunks``: what is remembered of full chunks, whose ``thread`` this is.
    """

    def __init__(self, codec: Codec, fetch: Fetch, *, chunks: ChunkCache | None = None, thread: int = 0) -> None:
        self._codec = codec
        self._fetch = fetch
        self._remembered = chunks
        self._thread = thread
        self._pieces: dict[int, bytes] = {}
        self._chunks: dict[int, Chunk] = {}
        # Values that were made when their chunk arrived, for the first who asks; others make their own.
        self._fresh: dict[int, list[Any]] = {}

    @property
    def owner(self) -> str:
        """The thread whose pieces it reads."""
        return self._codec.thread

    def head(self, stored: bytes, *place: str | int | None) -> Any:
        """The record in the row at ``place``, or the number of the piece that has it."""
        with legible(self.owner, *place[:3]):
            return self._codec.load(self._codec.unseal(stored, *place))

    def record(self, stored: bytes, *place: str | int | None) -> Any:
        """What ``Encoder.packed`` was given for this place."""
        with legible(self.owner, *place[:3]):
            record = self._codec.load(self._codec.unseal(stored, *place))
            return self._codec.load(self._plain([record])[0]) if isinstance(record, int) else record

    def values(self, refs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of channels."""
        self.warm(refs.values())
        return {name: self.value(ref) for name, ref in refs.items()}

    def warm(self, refs: Iterable[Any], *, alive: bool = True) -> None:
        """Fetch at once whatever the references name themselves; ``alive``: because their values are wanted."""
        pieces: list[Entry] = []
        chunks: list[Entry] = []
        for ref in refs:
            if isinstance(ref, list):
                for level, digit in enumerate(ref[1]):
                    (chunks if level == 1 else pieces).extend(digit)
            else:
                pieces.append(ref)
        self._need(pieces, chunks, alive=alive)

    def value(self, ref: Any) -> Any:
        """One value, made anew."""
        if isinstance(ref, int):
            with legible(self.owner, PIECE, ref):
                return self._codec.load(self._plain([ref])[0])
        if not isinstance(ref, list):
            return self._codec.load(self._plain([ref])[0])
        kind, digits = ref
        items = self._items(digits)
        return dict(zip(items[::2], items[1::2], strict=True)) if kind == DICT else items

    def sequence(self, digits: Sequence[Level]) -> tuple[list[Level], list[bytes | None]]:
        """All levels of a list, and the digests of its items."""
        above = spread(digits[1:], self._of_chunks)
        numbers = above[0] if above else []
        self._need(digits[0], numbers, alive=False)
        chunks = self._known(numbers)
        plain = self._plain(digits[0])
        known = b"".join(chunk.digests for chunk in chunks)
        digests = [known[at : at + 16] for at in range(0, len(known), 16)]
        tail = [
            NO_DIGEST if isinstance(entry, bytes) else digest_of(typed)
            for entry, typed in zip(digits[0], plain, strict=True)
        ]
        entries = [entry for chunk in chunks for entry in chunk.entries] + list(digits[0])
        return [entries, *above], [None if digest == NO_DIGEST else digest for digest in digests + tail]

    def reachable(self, refs: Iterable[Any]) -> Iterator[int]:
        """The numbers of all pieces that the references need, chunks among them."""
        for ref in refs:
            if isinstance(ref, int):
                yield ref
            elif isinstance(ref, list):
                above = spread(ref[1][1:], self._of_chunks)
                numbers = above[0] if above else []
                self._need((), numbers, alive=False)
                for level in (*above, *ref[1], *(chunk.entries for chunk in self._known(numbers))):
                    yield from (entry for entry in level if isinstance(entry, int))

    def _items(self, digits: Sequence[Level]) -> list[Any]:
        above = spread(digits[1:], self._of_chunks)
        numbers = above[0] if above else []
        self._need(digits[0], numbers)
        chunks = self._known(numbers)
        self._need(chain.from_iterable(chunk.entries for chunk in chunks if chunk.values is None))
        items: list[Any] = []
        for number, chunk in zip(numbers, chunks, strict=True):
            if (fresh := self._fresh.pop(number, None)) is not None:  # type: ignore[arg-type] # chunks are pieces
                items += fresh
            elif isinstance(chunk.values, bytes):
                items += self._codec.load(chunk.values)
            elif chunk.values is None:
                items += self._codec.load_all(self._plain(chunk.entries))
            else:
                items += chunk.values
        return items + self._codec.load_all(self._plain(digits[0]))

    def _plain(self, entries: Sequence[Entry]) -> list[bytes]:
        """The typed bytes of each entry."""
        self._need(entries)
        pieces = self._pieces
        return [entry if isinstance(entry, bytes) else pieces[entry] for entry in entries]

    def _known(self, numbers: Iterable[Entry]) -> list[Chunk]:
        return [self._chunks[number] for number in numbers]  # type: ignore[index] # chunks are pieces

    def _of_chunks(self, numbers: Sequence[Entry]) -> dict[Entry, Level]:
        """The entries of chunks of chunks."""
        return {number: self._codec.load(plain) for number, plain in zip(numbers, self._plain(numbers), strict=True)}

    def _need(self, pieces: Iterable[Entry], chunks: Iterable[Entry] = (), *, alive: bool = True) -> None:
        """Have these pieces, and these chunks of items, whose values are wanted if ``alive``.

        Raises ``StoreCorrupt`` when one is not there.
        """
        wanted = [n for n in pieces if isinstance(n, int) and n not in self._pieces]
        awaited = {n for n in chunks if isinstance(n, int) and not self._remembers(n)}
        if not wanted and not awaited:
            return
        unseal = self._codec.unseal
        for number, data in self._fetch([*wanted, *awaited]):
            with legible(self.owner, PIECE, number):
                plain = unseal(data, PIECE, number)
                if number in awaited:
                    self._arrived(number, plain, alive)
                else:
                    self._pieces[number] = plain
        missing = (awaited - self._chunks.keys()) | (set(wanted) - self._pieces.keys())
        if missing:
            raise StoreCorrupt(f"The state refers to pieces that are not in the database: {sorted(missing)[:5]}.")

    def _remembers(self, number: int) -> bool:
        if number in self._chunks:
            return True
        found = None if self._remembered is None else self._remembered.get(self._thread, number)
        if found is None:
            return False
        self._chunks[number] = found
        return True

    def _arrived(self, number: int, plain: bytes, alive: bool) -> None:
        entries, digests, joined = self._codec.load(plain)
        values = joined
        if joined is not None and alive:
            fresh: list[Any] = self._codec.load(joined)
            values = kept(fresh, joined)
            if values is joined:
                self._fresh[number] = fresh
        chunk = self._chunks[number] = Chunk(entries, digests, values, len(plain))
        if self._remembered is not None and (alive or joined is None):
            self._remembered.put(self._thread, number, chunk)
