"""How LangGraph's tables say that a value is stored in pieces: by a kind that only Vertebra reads.

A blob there is a kind and bytes, and any serializer refuses a kind that it does not know. So plain LangGraph refuses
to load such a state (``NotImplementedError: Unknown serialization type: vertebra.pieces``), and takes none for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.pieces.codec import Codec

KIND = "vertebra.pieces"


@dataclass(frozen=True, slots=True)
class Stored:
    """In place of a value: what refers to its pieces."""

    ref: Any


@dataclass(frozen=True, slots=True)
class Dumped:
    """In place of a value: its bytes as they were when it was handed in."""

    kind: str
    data: bytes


class MarkingSerializer:
    """What LangGraph's saver is given as its serializer: values as ``serde`` makes them, and marks."""

    def __init__(self, serde: SerializerProtocol) -> None:
        self._serde = serde
        self.codec = Codec(serde)

    def dumps_typed(self, value: Any) -> tuple[str, bytes]:
        if isinstance(value, Stored):
            return KIND, self.codec.seal(self.codec.dump(value.ref))
        if isinstance(value, Dumped):
            return value.kind, value.data
        return self._serde.dumps_typed(value)

    def loads_typed(self, typed: tuple[str, bytes]) -> Any:
        kind, data = typed
        return self.load_mark(data) if kind == KIND else self._serde.loads_typed(typed)

    def load_mark(self, data: bytes) -> Stored:
        """The mark of a blob of this kind."""
        return Stored(self.codec.load(self.codec.unseal(data)))

    def dump_now(self, value: Any) -> Dumped:
        """The value as it is now, whatever becomes of it before it is written."""
        return Dumped(*self._serde.dumps_typed(value))
