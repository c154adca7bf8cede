"""Which part of a value no serializer takes, and the error that says so.

What a serializer raises names neither the field nor the place within it. Both are looked for once it has raised: what
can be stored costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vertebra.errors import InvalidUpdate, VertebraError

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol

PLAIN = (
    "use plain data, models and dataclasses of the state: dict keys without halves of surrogate pairs "
    "(text.encode('utf-8', 'replace').decode()), whole numbers within 64 bits, nothing that holds itself"
)
DEPTH = 12
"""How far a path leads. What is nested more deeply is told by the place where the path ends."""
_KEY_LENGTH = 40


def unstorable(
    error: Exception,
    serde: SerializerProtocol,
    values: Iterable[tuple[str, Any]],
    *,
    kind: type[VertebraError] = InvalidUpdate,
    remedy: str | None = None,
    **where: Any,
) -> Exception:
    """An error of ``kind`` that names field and place, if ``error`` is because of one of the values; else itself.

    ``where``: more of its context. The node, if it is known, is named in the message.
    """
    if isinstance(error, VertebraError):
        return error
    for field, value in values:
        if (why := _refusal(serde, value)) is None:
            continue
        path, why = _place(serde, value, why)
        path = f"{field}{path}"
        who = f"Node {where['node']!r} returned" if "node" in where else "There is"
        then = "; then resume the thread: recorded calls are not paid again." if "node" in where else "."
        told = kind(
            f"{who} a value for field {field!r} that cannot be stored: {path}: {why}.",
            remedy=remedy or PLAIN + then,
            field=field,
            path=path,
            **where,
        )
        told.__cause__ = error
        return told
    return error


def _refusal(serde: SerializerProtocol, value: Any) -> str | None:
    """Why the serializer does not take it."""
    try:
        serde.dumps_typed(value)
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def _place(serde: SerializerProtocol, value: Any, why: str) -> tuple[str, str]:
    """The path to the smallest part that is refused, and why that is."""
    path, seen = "", {id(value)}
    for _ in range(DEPTH):
        refused = ((step, part, _refusal(serde, part)) for step, part in _parts(value))
        found = next(((step, part, reason) for step, part, reason in refused if reason is not None), None)
        if found is None:
            key = next((key for key in _keys(value) if _refusal(serde, {key: None}) is not None), None)
            return path, why if key is None else f"the key {_shown(key)}: {why}"
        step, value, why = found
        path += step
        if id(value) in seen:
            return path, "it holds itself"
        seen.add(id(value))
    return path, why


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{_shown(key)}]", part
    elif isinstance(value, list | tuple | set | frozenset):
        for at, part in enumerate(value):
            yield f"[{at}]", part
    else:
        for name in _fields(type(value)):
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _fields(kind: type[Any]) -> Iterable[str]:
    """Of a pydantic model, a dataclass, or what LangGraph puts around a value."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return tuple(getattr(kind, "model_fields", ())) or ("value", "arg")


def _keys(value: Any) -> Iterable[Any]:
    return value if isinstance(value, Mapping) else ()


def _shown(key: Any) -> str:
    text = ascii(key)  # whoever reads it can print it
    return text if len(text) <= _KEY_LENGTH else f"{text[:_KEY_LENGTH]}..."
