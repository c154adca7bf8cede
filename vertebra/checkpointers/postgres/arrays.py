"""Columns of rows as arrays in Postgres's binary form: made by its driver, they take ten times as long.

The form is what ``array_recv`` of the server reads: the number of dimensions, whether there may be NULLs, the type of
the items, their number, the first index; then for each its length and its bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any, ClassVar

import psycopg
from psycopg.adapt import AdaptersMap, Buffer, Dumper
from psycopg.pq import Format
from psycopg.types.json import Jsonb

_length = struct.Struct("!i").pack
_number = struct.Struct("!q").pack
_NULL = _length(-1)


class Array:
    """Items as they are sent."""

    __slots__ = ("data",)
    item: ClassVar[str]
    oid: ClassVar[int]

    def __init__(self, items: Iterable[bytes | None]) -> None:
        parts = [b""]
        for item in items:
            parts.append(_NULL if item is None else _length(len(item)) + item)
        count = len(parts) - 1
        parts[0] = struct.pack("!iiiii", 1, 1, self.oid, count, 1) if count else struct.pack("!iii", 0, 0, self.oid)
        self.data = b"".join(parts)


class Texts(Array):
    __slots__ = ()
    item, oid = "text", 25


class Blobs(Array):
    __slots__ = ()
    item, oid = "bytea", 17


class Numbers(Array):
    __slots__ = ()
    item, oid = "int8", 20


class Jsons(Array):
    __slots__ = ()
    item, oid = "jsonb", 3802


def texts(values: Iterable[Any], encoding: str) -> Texts:
    """Whatever is no text becomes one."""
    return Texts(None if value is None else str(value).encode(encoding) for value in values)


def blobs(values: Iterable[bytes | None], _: str = "") -> Blobs:
    return Blobs(values)


def numbers(values: Iterable[int], _: str = "") -> Numbers:
    return Numbers(map(_number, values))


def jsons(values: Iterable[Jsonb], encoding: str) -> Jsons:
    """Raises ``TypeError`` for what JSON does not have."""
    made = ((value.dumps or json.dumps)(value.obj) for value in values)
    # The first byte is the version of the form.
    return Jsons(b"\x01" + (text.encode(encoding) if isinstance(text, str) else text) for text in made)


class _AsItIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> Buffer:
        return obj.data


def adapters() -> AdaptersMap:
    """For connections that are sent arrays."""
    known = AdaptersMap(psycopg.adapters)
    for array in (Texts, Blobs, Numbers, Jsons):
        oid = known.types[array.item].array_oid
        known.register_dumper(array, type(f"{array.__name__}Dumper", (_AsItIs,), {"oid": oid}))
    return known
