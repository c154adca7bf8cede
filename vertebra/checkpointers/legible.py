"""Rows that are not as they were written: told as ``StoreCorrupt``, by thread and row and never by what is in them."""

from __future__ import annotations

import struct
from typing import Any, Literal

from vertebra.errors import StoreCorrupt

_OF_NOISE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, RecursionError, TypeError),
    *(ValueError, struct.error),
)
"""What reading noise raises; what drivers raise is none of it, nor are errors of ours."""


class legible:
    """Within, a row of a thread is read; ``kind`` and ``key`` name it. Raises ``StoreCorrupt`` for what it is not.

    Errors of ours come out as they are; of those that tell of damage already, the thread and the row are filled in.
    """

    __slots__ = ("_key", "_kind", "_thread")

    def __init__(self, thread: str, kind: object, *key: object) -> None:
        self._thread = thread
        self._kind = kind
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> Literal[False]:
        if isinstance(error, StoreCorrupt):
            error.located(**self._place())
        elif isinstance(error, _OF_NOISE):
            place = self._place()
            remedy = "open it with the serializer that wrote it, or restore the database from a backup."
            raise StoreCorrupt(
                f"Damaged row: {place['row']} ({type(error).__name__}).",
                remedy=remedy if isinstance(error, NotImplementedError) else None,
                **place,
            ) from None
        return False

    def _place(self) -> dict[str, str | None]:
        parts = [str(self._kind), *(str(part) for part in self._key if part not in ("", None))]
        return {"thread": self._thread or None, "row": " ".join(parts)}


def as_dict(value: Any) -> dict[str, Any]:
    """The value, for whoever reads a row that must have a dict there."""
    if not isinstance(value, dict):
        raise TypeError("not a dict")
    return value
