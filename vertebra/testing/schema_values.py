"""A value that fits a JSON schema, as a model under structured output would give. Pure.

It covers what strict structured output allows: references, unions, enums, bounds on length, size and
range, and the common formats. A ``pattern`` is not solved.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
MAX_DEPTH = 6
"""How deep a schema that refers to itself is followed before optional parts are left out."""

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "ipv4": "127.0.0.1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def value_for(schema: Schema, text: str) -> Any:
    """The value: strings say ``text`` within their bounds, numbers and choices depend on it."""
    return _value(schema, text, schema, 0)


def _value(schema: Schema, text: str, root: Schema, depth: int) -> Any:
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return _pick(list(schema["enum"]), text)
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return _value(_branch(schema[union], root, depth), text, root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if depth < MAX_DEPTH or "null" not in kind else "null"
    if kind == "object" or "properties" in schema:
        return _object(schema, text, root, depth)
    if kind == "array":
        return _array(schema, text, root, depth)
    if kind in ("integer", "number"):
        return _number(schema, text, whole=kind == "integer")
    if kind == "boolean":
        return _number({}, text, whole=True) % 2 == 0
    return None if kind == "null" else _string(schema, text)


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).lstrip("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")] if part else target
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    for part in schema.get("allOf", ()):
        schema = {**_resolved(part, root), **{key: value for key, value in schema.items() if key != "allOf"}}
    return schema


def _branch(branches: list[Schema], root: Schema, depth: int) -> Schema:
    """The first one; too deep, the plainest, so that a schema within itself comes to an end."""
    if depth < MAX_DEPTH:
        return branches[0]
    plain = ("null", "string", "integer", "number", "boolean", "array")
    kinds = [_resolved(branch, root).get("type") for branch in branches]
    return branches[min(range(len(kinds)), key=lambda n: plain.index(kinds[n]) if kinds[n] in plain else len(plain))]


def _object(schema: Schema, text: str, root: Schema, depth: int) -> dict[str, Any]:
    wanted = schema.get("properties") or {}
    if depth >= MAX_DEPTH:
        wanted = {name: part for name, part in wanted.items() if name in schema.get("required", ())}
    if depth > 4 * MAX_DEPTH:
        raise ValueError("The schema requires itself without end: no value fits it.")
    return {name: _value(part, text, root, depth + 1) for name, part in wanted.items()}


def _array(schema: Schema, text: str, root: Schema, depth: int) -> list[Any]:
    least = int(schema.get("minItems", 0))
    size = least if depth >= MAX_DEPTH else min(max(least, 1), int(schema.get("maxItems", max(least, 1))))
    fixed = list(schema.get("prefixItems", ()))
    items = schema.get("items")
    parts = (fixed + [items if isinstance(items, Mapping) else {}] * size)[: max(size, len(fixed))]
    return [_value(part, text, root, depth + 1) for part in parts]


def _string(schema: Schema, text: str) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[str(schema["format"])]
    padded = text.ljust(int(schema.get("minLength", 0)), ".")
    return padded[: int(schema["maxLength"])] if "maxLength" in schema else padded


def _number(schema: Schema, text: str, *, whole: bool) -> float:
    step = schema.get("multipleOf") or 1
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if not whole and low is not None and high is not None:
        return float(low + (high - low) * (1 + _seed(text) % 98) / 100)
    least = 0 if low is None and (high is None or high > 0) else (high - 100 if low is None else low)
    first = math.ceil(least / step) * step
    first += step if "exclusiveMinimum" in schema and first <= schema["exclusiveMinimum"] else 0
    most = first + 99 * step if high is None else high - (step if "exclusiveMaximum" in schema else 0)
    found = first + _seed(text) % (max(0, int((most - first) // step)) + 1) * step
    return int(found) if whole else float(found)


def _pick(choices: list[Any], text: str) -> Any:
    return choices[_seed(text) % len(choices)]


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
