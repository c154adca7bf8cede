"""From references back to values: pieces are fetched level by level, and items are revived together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vertebra.checkpointers.sqlite.chunks import Entry, Level, spread
from vertebra.checkpointers.sqlite.codec import Codec
from vertebra.checkpointers.sqlite.encoding import DICT
from vertebra.checkpointers.sqlite.tables import PIECE_BITS, key_of
from vertebra.errors import StoreCorrupt

_FETCH = "SELECT key, data FROM vertebra_state_pieces WHERE key IN (SELECT value FROM json_each(?))"


class Decoder:
    """Reads one thread's pieces on one connection. ``cache`` serves several states that share pieces."""

    def __init__(
        self, connection: sqlite3.Connection, codec: Codec, number: int, cache: dict[Entry, bytes] | None = None
    ) -> None:
        self._connection = connection
        self._codec = codec
        self._number = number
        self._cache = cache

    def record(self, stored: bytes) -> Any:
        """What ``Encoder.packed`` was given."""
        record = self._codec.load(self._codec.unseal(stored))
        return self._codec.load(self.plain([record])[record]) if isinstance(record, int) else record

    def values(self, refs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of channels."""
        return {name: self.value(ref) for name, ref in refs.items()}

    def value(self, ref: Any) -> Any:
        """One value, made anew."""
        if not isinstance(ref, list):
            return self._codec.load(self.plain([ref])[ref])
        kind, digits = ref
        items = self.items(self.levels(digits)[0])
        return dict(zip(items[::2], items[1::2], strict=True)) if kind == DICT else items

    def levels(self, digits: Sequence[Level]) -> list[Level]:
        return spread(digits, self._chunks)

    def items(self, entries: Level) -> list[Any]:
        plain = self.plain(entries)
        return self._codec.load_all([plain[entry] for entry in entries])

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
            fetched = self._fetch(wanted)
            if missing := set(wanted) - fetched.keys():
                raise StoreCorrupt(f"The state refers to pieces that are not in the file: {sorted(missing)[:5]}.")
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
                for level in self.levels(ref[1]):
                    yield from (entry for entry in level if isinstance(entry, int))

    def _chunks(self, numbers: Sequence[Entry]) -> dict[Entry, Level]:
        return {number: self._codec.load(plain) for number, plain in self.plain(numbers).items()}

    def _fetch(self, numbers: Sequence[int]) -> dict[Entry, bytes]:
        unseal, mask = self._codec.unseal, (1 << PIECE_BITS) - 1
        keys = json.dumps([key_of(self._number, number) for number in numbers])
        return {key & mask: unseal(data) for key, data in self._connection.execute(_FETCH, (keys,))}
