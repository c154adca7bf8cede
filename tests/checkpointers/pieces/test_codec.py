"""Values to bytes and back, through serializers of every kind, sealed or not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.savers import serializer
from vertebra.errors import UsageError

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
