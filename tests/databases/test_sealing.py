"""Sealed content: it opens at its own place under its own key, and whatever else it is given is refused."""

from __future__ import annotations

import base64
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertebra.databases.sealing import MARK, NO_SEALS, TEXT_MARK, KeySeals
from vertebra.errors import ContentTampered, EncryptionKeyMissing, EncryptionKeyWrong, UsageError

OLD, NEW = b"old.", b"new."
KEYS = {OLD: b"1" * 32, NEW: b"2" * 32}
DIGESTS = b"3" * 32
PLACE = ("table", "column", "thread", 1)


def seals(current: bytes = NEW, keys: dict[bytes, bytes] = KEYS, more: dict[bytes, bytes] | None = None) -> KeySeals:
    return KeySeals(current, keys, DIGESTS, lambda: more or {})


parts = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.text())


@given(st.binary(), st.text(st.characters(exclude_categories=("Cs",))), st.lists(parts, max_size=4))
def test_what_is_sealed_comes_back_at_its_place(plain: bytes, text: str, place: list[str | int | None]) -> None:
    sealed = seals().seal(plain, *place)
    assert seals().unseal(sealed, *place) == plain
    assert len(sealed) == len(plain) + 37
    assert seals().unseal_text(seals().seal_text(text, *place), *place) == text
    with pytest.raises(ContentTampered):
        seals().unseal(sealed, *place, "more")


def test_no_two_are_alike_and_none_is_nothing() -> None:
    assert seals().seal(b"yes", *PLACE) != seals().seal(b"yes", *PLACE)
    assert seals().seal_text(None, *PLACE) is None
    assert seals().unseal_text(None, *PLACE) is None


@pytest.mark.parametrize(
    "place", [("table", "column", "thread", 2), ("table", "column", "thread"), ("table", "column")]
)
def test_a_place_is_not_another(place: tuple[str, ...]) -> None:
    with pytest.raises(ContentTampered, match="table column"):
        seals().unseal(seals().seal(b"x", *PLACE), *place)
    assert seals().seal(b"", "a", "bc")[:9] == seals().seal(b"", "ab", "c")[:9]
    with pytest.raises(ContentTampered):
        seals().unseal(seals().seal(b"", "a", "bc"), "ab", "c")


def test_every_bit_counts() -> None:
    sealed = seals().seal(b"yes", *PLACE)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises((ContentTampered, EncryptionKeyWrong)):
            seals().unseal(bytes(changed), *PLACE)
        with pytest.raises((ContentTampered, EncryptionKeyWrong)):
            seals().unseal(sealed[:at], *PLACE)


@pytest.mark.parametrize("stored", ["plain", "", TEXT_MARK, TEXT_MARK + "no base64", TEXT_MARK + "AAAA"])
def test_a_text_that_was_never_sealed_is_refused(stored: str) -> None:
    with pytest.raises(ContentTampered):
        seals().unseal_text(stored, *PLACE)


def test_keys_rotate() -> None:
    old = seals(OLD).seal(b"x", *PLACE)
    assert seals(NEW).unseal(old, *PLACE) == b"x"
    only_new = seals(NEW, {NEW: KEYS[NEW]})
    with pytest.raises(EncryptionKeyWrong, match=OLD.hex()):
        only_new.unseal(old, *PLACE)
    # Another process has begun a key since: it is asked for, once.
    asked: list[int] = []

    def more() -> dict[bytes, bytes]:
        asked.append(1)
        return KEYS

    late = KeySeals(NEW, {NEW: KEYS[NEW]}, DIGESTS, more)
    assert [late.unseal(old, *PLACE) for _ in range(3)] == [b"x"] * 3
    assert asked == [1]


def test_digests_tell_nothing_and_stay_the_same_when_keys_rotate() -> None:
    assert seals(OLD).digest("yes", "t") == seals(NEW).digest("yes", "t") != seals().digest("yes", "u")
    assert KeySeals(NEW, KEYS, b"4" * 32, dict).digest("yes", "t") != seals().digest("yes", "t")


def test_without_a_key_nothing_is_sealed_and_ciphertext_is_no_content() -> None:
    assert NO_SEALS.unseal(NO_SEALS.seal(b"x", *PLACE), *PLACE) == b"x"
    assert NO_SEALS.unseal_text(NO_SEALS.seal_text("x", *PLACE), *PLACE) == "x"
    with pytest.raises(EncryptionKeyMissing):
        NO_SEALS.unseal(seals().seal(b"x", *PLACE), *PLACE)
    with pytest.raises(EncryptionKeyMissing):
        NO_SEALS.unseal_text(seals().seal_text("x", *PLACE), *PLACE)
    with pytest.raises(UsageError):
        NO_SEALS.seal_text(f"{TEXT_MARK}x", *PLACE)


@given(st.sampled_from([b"", MARK, MARK + b"\0", MARK + b"\1" + NEW, MARK[:1], MARK[:3], b"\xff"]), st.binary())
def test_plain_bytes_come_back_whatever_they_begin_with(head: bytes, rest: bytes) -> None:
    """An answer that was recorded may be any bytes: nobody is told that it is encrypted."""
    plain = head + rest
    stored = NO_SEALS.seal(plain, *PLACE)
    assert NO_SEALS.unseal(stored, *PLACE) == plain
    assert NO_SEALS.unseal(memoryview(stored), *PLACE) == plain  # type: ignore[arg-type] # as a driver may give it
    assert (stored == plain) == (not plain.startswith(MARK))
    with pytest.raises(ContentTampered):  # and in an encrypted store it is what it is
        seals().unseal(stored, *PLACE)


def test_the_format_is_what_its_docstring_says() -> None:
    sealed = seals().seal(b"x", *PLACE)
    assert sealed[:9] == MARK + b"\x01" + NEW
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    about = sealed[:9] + b'["table","column","thread",1]'
    assert AESGCM(KEYS[NEW]).decrypt(sealed[9:21], sealed[21:], about) == b"x"
    text = seals().seal_text("x", *PLACE)
    assert base64.b64decode(text.removeprefix(TEXT_MARK))[:4] == MARK


def test_one_object_serves_many_threads() -> None:
    shared = seals()

    def work(number: int) -> bool:
        return all(
            shared.unseal(shared.seal(bytes([number]) * 500, number, at), number, at) == bytes([number]) * 500
            for at in range(200)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_without_the_extra_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["cryptography"] = None
from vertebra import open_checkpointer
from vertebra.errors import MissingExtra
open_checkpointer("memory://").close()
try:
    open_checkpointer("memory://", encryption="A" * 43)
except MissingExtra as error:
    print(error.remedy)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "pip install 'vertebra[encryption]'\n", ran.stderr
