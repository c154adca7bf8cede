"""Values to bytes and back, through serializers of every kind, sealed or not."""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Send
from pydantic import BaseModel

from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.savers import serializer
from vertebra.databases.sealing import MARK
from vertebra.errors import StoreCorrupt, UsageError

VALUES: list[Any] = [
    *(None, b"", b"\x00\xff", "Größe 診察 🙂", "a\0b", "", 1, True, 1.5, 2**63, {"ключ": [None, 1.5]}, {1}),
    *(b"x" * 300, b"x" * 70_000, "x" * 70_000, [[]], {1: "int"}),
]


class AsJson:
    """Somebody's serializer."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "text/json", json.dumps(obj).encode()

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        assert data[0] == "text/json"
        return json.loads(data[1])


class Backwards:
    """No cipher that anybody should use."""

    def __init__(self) -> None:
        self.sealed = 0

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        self.sealed += 1
        return "backwards", str(self.sealed).zfill(8).encode() + plaintext[::-1]

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "backwards"
        return ciphertext[8:][::-1]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_what_is_dumped_is_loaded(value: Any) -> None:
    codec = Codec(serializer())
    loaded = codec.load(codec.dump(value))
    assert (type(loaded), loaded) == (type(value), value)


class Verdict(enum.Enum):
    YES = "yes"


@dataclass
class Pair:
    first: Any
    second: Any


class Record(BaseModel):
    data: Any


class AnyKind:
    """A serializer whose kinds are what it is told."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def dumps_typed(self, obj: bytes) -> tuple[str, bytes]:
        return self._kind, obj

    def loads_typed(self, data: tuple[str, bytes]) -> bytes:
        assert data[0] == self._kind
        return data[1]


leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text()),
    *(st.binary(), st.binary().map(bytearray), st.datetimes(), st.dates(), st.times(), st.uuids(), st.decimals()),
    *(st.frozensets(st.text()), st.sets(st.integers(0, 9)), st.text().map(Path), st.just(re.compile("a|b"))),
    *(st.builds(Record, data=st.text()), st.builds(Pair, st.binary(), st.text()), st.timedeltas()),
    *(st.sampled_from(Verdict), st.text().map(HumanMessage), st.ip_addresses(), st.just(Send("node", {"a": 1}))),
)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner), max_leaves=6
)


@given(anything)
@pytest.mark.parametrize("pickles", [False, True])
def test_no_plain_value_begins_as_a_sealed_one(pickles: bool, value: Any) -> None:
    plain = Codec(JsonPlusSerializer(pickle_fallback=pickles)).dump(value)
    assert plain[0] in (0, 1, 2, 3, 4, 0xF0)
    codec = Codec(serializer())
    assert codec.unseal(codec.seal(plain)) == plain


@pytest.mark.parametrize(
    "kind", ["null", "bytes", "bytearray", "msgpack", "json", "pickle", "ÿþ", "msgpack+aes", "\xff"]
)
@pytest.mark.parametrize("data", [b"", b"\xff", MARK, MARK + b"\1key.", b"\xff\3aes"])
def test_nor_of_any_serializer_whatever_its_bytes(kind: str, data: bytes) -> None:
    codec = Codec(AnyKind(kind))
    plain = codec.dump(data)
    assert plain[0] not in (MARK[0], 0xFF)
    assert codec.load(codec.unseal(codec.seal(plain))) == data


def test_a_damaged_plain_row_is_not_taken_for_a_sealed_one() -> None:
    codec = Codec(serializer()).of("t")
    for head in (b"\xfe", b"\xff", b"\xff\x00", MARK[:3] + b"T"):
        for whole in (b"", codec.dump({"text": "Größe"}), codec.dump([1, 2, 3])[1:]):
            with pytest.raises(StoreCorrupt, match="Damaged row: head 1"), legible("t", "head", 1):
                codec.load(codec.unseal(head + whole))


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 70_000])
def test_many_are_loaded_as_one_and_are_the_same(count: int) -> None:
    codec = Codec(serializer())
    values = [VALUES[n % 14] for n in range(count)]
    assert codec.load_all([codec.dump(value) for value in values]) == values


def test_what_is_no_messagepack_is_loaded_one_by_one() -> None:
    codec = Codec(serializer())
    values = [*VALUES, bytearray(b"ab")]
    assert codec.load_all([codec.dump(value) for value in values]) == values
    theirs = Codec(AsJson())
    assert theirs.load_all([theirs.dump(value) for value in ("ä", [1, None])]) == ["ä", [1, None]]


def test_equal_values_are_equal_before_they_are_sealed_and_never_after() -> None:
    codec = Codec(EncryptedSerializer(Backwards(), serializer()))
    one, two = codec.dump("secret"), codec.dump("secret")
    assert one == two
    sealed = codec.seal(one)
    assert sealed != codec.seal(two)
    assert b"secret" not in sealed
    assert codec.load(codec.unseal(sealed)) == "secret"
    assert codec.load(codec.unseal(Codec(serializer()).seal(one))) == "secret"  # from before there was a key
    with pytest.raises(UsageError, match="encrypted"):
        Codec(serializer()).unseal(sealed)
