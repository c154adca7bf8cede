"""Which items a search of LangGraph's store takes, and how near they are: by filter, by namespace, by vector."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any


def fits(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether a value has all that a filter asks for. Raises ``ValueError`` for an unknown operator."""
    return all(_equal(value.get(name), asked) for name, asked in (wanted or {}).items())


def _equal(value: Any, asked: Any) -> bool:
    if isinstance(asked, Mapping):
        if any(name.startswith("$") for name in asked):
            return all(_compare(value, operator, operand) for operator, operand in asked.items())
        return isinstance(value, Mapping) and all(_equal(value.get(name), inner) for name, inner in asked.items())
    if isinstance(asked, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(asked)
            and all(_equal(one, other) for one, other in zip(value, asked, strict=True))
        )
    return bool(value == asked)


def _compare(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return bool(value == operand)
    if operator == "$ne":
        return bool(value != operand)
    if operator not in ("$gt", "$gte", "$lt", "$lte"):
        raise ValueError(f"Unsupported operator: {operator}")
    number, bound = _number(value), float(operand)
    if number is None:
        return False
    if operator == "$gt":
        return number > bound
    if operator == "$gte":
        return number >= bound
    return number < bound if operator == "$lt" else number <= bound


def _number(value: Any) -> float | None:
    """None for what has no size: LangGraph's own store in memory raises there, those on databases leave it out."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def matches(namespace: Sequence[str], kind: str, path: Sequence[str]) -> bool:
    """Whether a namespace begins or ends so; ``*`` stands for any label. Raises ``ValueError`` for another kind."""
    if kind not in ("prefix", "suffix"):
        raise ValueError(f"Unsupported match type: {kind}")
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if kind == "prefix" else namespace[len(namespace) - len(path) :]
    return all(asked in ("*", label) for label, asked in zip(part, path, strict=True))


def packed(vector: Sequence[float]) -> bytes:
    """A vector as 32-bit floats, little end first."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def similarities(query: Sequence[float], vectors: Sequence[bytes]) -> list[float]:
    """The cosine of the angle between the query and each vector; 0 where one of them has no length."""
    try:
        import numpy as np
    except ImportError:
        return [_cosine(query, _unpacked(vector)) for vector in vectors]
    if not vectors:
        return []
    rows = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1)
    asked = np.asarray(query, dtype="f4")
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(asked)
    products = rows @ asked
    return [float(near) for near in np.divide(products, lengths, out=np.zeros_like(products), where=lengths != 0)]


def _unpacked(vector: bytes) -> array[float]:
    numbers = array("f")
    numbers.frombytes(vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    length = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / length if length else 0.0
