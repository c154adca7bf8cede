"""How LangGraph's tables say that a value is stored in pieces: by a kind that only Vertebra reads.

A blob there is a kind and bytes, and any serializer refuses a kind that it does not know. So plain LangGraph refuses
to load such a state (``NotImplementedError: Unknown serialization type: vertebra.pieces``), and takes none for another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.postgres.sealing import BLOB, SEALED, WRITE, Sealed, Stored, open_value, seal_value
from vertebra.databases.sealing import NO_SEALS, Seals, key_missing

KIND = "vertebra.pieces"


@dataclass(frozen=True, slots=True)
class Dumped:
    """In place of a value: its bytes as they were when it was handed in."""

    kind: str
    data: bytes


class MarkingSerializer:
    """What LangGraph's saver is given as its serializer: values as ``serde`` makes them, and marks.

    In an encrypted store, blobs as they are: what they open to depends on where they stand, which it does not know.
    """

    def __init__(self, serde: SerializerProtocol, seals: Seals = NO_SEALS) -> None:
        self._serde = serde
        self.codec = Codec(serde, seals)

    def dumps_typed(self, value: Any) -> tuple[str, bytes]:
        if isinstance(value, Stored):
            return KIND, self.codec.seal(self.codec.dump(value.ref))
        if isinstance(value, Dumped):
            return value.kind, value.data
        if isinstance(value, Sealed):
            return value.kind, value.data
        return self._serde.dumps_typed(value)

    def loads_typed(self, typed: tuple[str, bytes]) -> Any:
        kind, data = typed
        if self.codec.binds:
            return Sealed(kind, bytes(data))
        if kind == SEALED:
            raise key_missing()
        with legible(self.codec.thread, "blob of kind", kind):
            return Stored(self._ref(data)) if kind == KIND else self._serde.loads_typed(typed)

    def ref_of(self, thread: str, namespace: str, channel: str, data: bytes) -> Any:
        """What a blob of our kind refers to."""
        with legible(thread, "blob", namespace, channel):
            if not self.codec.binds:
                return self._ref(data)
            return open_value(self.codec.of(thread), Sealed(KIND, bytes(data)), BLOB, namespace, channel)[1].ref

    def dump_now(self, value: Any, thread: str, namespace: str, task: str, channel: str) -> Dumped | Sealed:
        """A task's write as it is now, whatever becomes of it before it is written."""
        if self.codec.binds:
            return seal_value(self.codec.of(thread), KIND, value, None, WRITE, namespace, task, channel)
        return Dumped(*self._serde.dumps_typed(value))

    def fitting(self, value: Any) -> Any:
        """The value, or its bytes if JSON in Postgres does not take it, where it stores texts and numbers."""
        return value if _fits_json(value) else Dumped(*self._serde.dumps_typed(value))

    def _ref(self, data: bytes) -> Any:
        return self.codec.load(self.codec.unseal(data))


def _fits_json(value: Any) -> bool:
    """NUL and half of a surrogate pair are none of its characters, and infinity none of its numbers."""
    if isinstance(value, float):
        return math.isfinite(value)
    try:
        return not isinstance(value, str) or b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False
