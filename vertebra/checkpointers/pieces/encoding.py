"""From the values of channels to pieces: what is new is stored, what was stored before is referred to.

A reference is the number of a piece, or a small value itself as typed bytes, or for a list or dict its kind and
the digits of ``chunks``. The items of a dict are its keys and values in turn. An item is known again by the
digest of its bytes; of immutable types and of messages it is mostly known without them (``sameness``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from itertools import chain
from operator import is_
from typing import Any

from vertebra.checkpointers.pieces.chunks import Entry, Level, Store, build, digits
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.memo import Latest, Sequence, ThreadMemo
from vertebra.checkpointers.pieces.sameness import FROZEN, are_same, sameness

LIST, DICT = 0, 1
PIECE = "piece"  # the place that a piece is sealed to, with its number
SMALL_ITEM = 24  # bytes that an item may have to stand in its list: there it is copied some 16 times
SMALL_VALUE = 64  # the same for a value that stands in the checkpoint
JOINED_BYTES = 64 * 1024  # that the items of a chunk may have together to be stored joined, too
NO_DIGEST = bytes(16)
SMALL_CONTAINER = 4  # items of a list or dict that is tried as one small value at first


class Encoder:
    """Makes references for one thread, and collects the pieces that they need. Hold the memo's lock.

    ``pieces`` are numbers within the thread, each with what is to be stored under it.
    """

    def __init__(self, codec: Codec, memo: ThreadMemo, *, trust_identity: bool = True) -> None:
        self._codec = codec.of(memo.thread)
        self._memo = memo
        self._trust = trust_identity
        self.pieces: list[tuple[int, bytes]] = []

    def refs(
        self,
        namespace: str,
        values: Mapping[str, Any],
        versions: Mapping[str, Any],
        changed: Mapping[str, Any],
        parent: Latest | None,
    ) -> dict[str, Any]:
        """A reference for each channel's value, its parent's where the channel was not written since."""
        refs = {}
        for name, value in values.items():
            known = parent is not None and name not in changed and name in parent.refs
            if known and parent is not None and parent.versions.get(name) == versions.get(name):
                refs[name] = parent.refs[name]
            else:
                refs[name] = self.channel(namespace, name, value)
        return refs

    def channel(self, namespace: str, name: str, value: Any) -> Any:
        """A reference to the value of a channel; the pieces of its last value are used again."""
        items = _items(value)
        if items is None:
            return self._whole(value, SMALL_VALUE, again=True)
        if len(items) <= SMALL_CONTAINER and (small := self._small(value)) is not None:
            return small
        place = (namespace, name)
        sequence = self._sequence(items, self._memo.sequences.get(place) or Sequence([], True, [[]], []))
        self._memo.sequences[place] = sequence
        return [LIST if type(value) is list else DICT, digits(sequence.levels)]

    def write(self, value: Any) -> Any:
        """A reference to a task's write, of pieces of its own: it may outlive whatever is remembered here."""
        items = _items(value)
        if items is None:
            return self._whole(value, SMALL_VALUE, again=False)
        if len(items) <= SMALL_CONTAINER and (small := self._small(value)) is not None:
            return small
        entries = [self._whole(item, SMALL_ITEM, again=False) for item in items]
        store = self._store(items, [None] * len(items), joined=False)
        return [LIST if type(value) is list else DICT, digits(build(entries, (), 0, store))]

    def packed(self, record: Any, limit: int, *place: str | int | None) -> bytes:
        """A record for the row at ``place``: sealed bytes, or the number of a piece that has them if they are long."""
        plain = self._codec.dump(record)
        if len(plain) > limit:
            plain = self._codec.dump(self._piece(plain))
        return self._codec.seal(plain, *place)

    def _sequence(self, items: list[Any], old: Sequence) -> Sequence:
        before = old.levels[0]
        trusted = self._trusted(items, old)
        # All at once where nothing was changed, which is nearly always; else one by one.
        same = seen = trusted if _are_same(items[:trusted], old) else 0
        entries, digests, told = before[:seen], old.digests[:seen], old.sameness[:seen]
        moved = cache(lambda: {d: e for d, e in zip(old.digests, before, strict=True) if d is not None})
        for at in range(seen, len(items)):
            item = items[at]
            known = old.sameness[at] if at < trusted else None
            if at < trusted and (type(item) in FROZEN or (known is not None and are_same([item], [known]))):
                entry, digest = before[at], old.digests[at]
            else:
                known = sameness(item)  # before its bytes: what changes in between is seen next time
                plain = self._codec.dump(item)
                digest = None if len(plain) <= SMALL_ITEM else digest_of(plain)
                if digest is None:
                    entry = plain
                elif at < len(before) and old.digests[at] == digest:
                    entry = before[at]
                else:
                    entry = moved().get(digest) or self._memo.recent.get(digest) or self._piece(plain, digest)
            if at == same and at < len(before) and before[at] == entry:
                same += 1
            digests.append(digest)
            entries.append(entry)
            told.append(known)
        frozen = (old.frozen or not seen) and all(map(FROZEN.__contains__, map(type, items[seen:])))
        store = self._store(items, digests, joined=same == len(before))
        return Sequence(items, frozen, build(entries, old.levels, same, store), digests, told)

    def _trusted(self, items: list[Any], old: Sequence) -> int:
        """How many items at the front are the very objects of last time."""
        if not self._trust or old.items is None:
            return 0
        length = min(len(items), len(old.items))
        if all(map(is_, items[:length], old.items)):
            return length
        return next(at for at in range(length) if items[at] is not old.items[at])

    def _small(self, value: Any) -> bytes | None:
        plain = self._codec.dump(value)
        return plain if len(plain) <= SMALL_VALUE else None

    def _whole(self, value: Any, limit: int, *, again: bool) -> Entry:
        plain = self._codec.dump(value)
        if len(plain) <= limit:
            return plain
        digest = digest_of(plain)
        return (self._memo.recent.get(digest) if again else None) or self._piece(plain, digest)

    def _store(self, items: list[Any], digests: list[bytes | None], *, joined: bool) -> Store:
        """Writes chunks: of items with their digests and, for lists that only grow, their values once more, which are
        read at once; of chunks, with their numbers alone.
        """

        def store(level: int, at: int, entries: Level) -> int:
            if level > 1:
                return self._piece(self._codec.dump(entries))
            span = slice(at, at + len(entries))
            content = self._codec.join(items[span], JOINED_BYTES) if joined else None
            known = b"".join(digest or NO_DIGEST for digest in digests[span])
            return self._piece(self._codec.dump([entries, known, content]))

        return store

    def _piece(self, plain: bytes, digest: bytes | None = None) -> int:
        number = self._memo.next_number()
        self.pieces.append((number, self._codec.seal(plain, PIECE, number)))
        if digest is not None:
            self._memo.remember(digest, number)
        return number


def in_pieces(value: Any) -> bool:
    """Whether a channel's value is a list or dict whose items are stored one by one."""
    return type(value) is list or (type(value) is dict and all(type(key) is str for key in value))


def _are_same(items: list[Any], old: Sequence) -> bool:
    """Whether these, which are the very objects of last time, are what they were."""
    told = old.sameness[: len(items)]
    return old.frozen or (None not in told and are_same(items, told))  # type: ignore[arg-type] # none is None


def _items(value: Any) -> list[Any] | None:
    """The items of a list or dict, in a list that nobody else changes."""
    if not in_pieces(value):
        return None
    return list(value if type(value) is list else chain.from_iterable(value.items()))


def digest_of(plain: bytes) -> bytes:
    return hashlib.blake2b(plain, digest_size=16).digest()
