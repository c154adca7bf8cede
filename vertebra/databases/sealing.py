"""Content as sealed bytes: AES-256-GCM, bound to the place where it is kept.

::

    mark   version  key id  nonce     ciphertext and tag
    4      1        4       12        length + 16            bytes

Everything before the nonce is authenticated with the place: table, column and key of the row, the thread's id among
them. So a value that was changed, or moved to another row, column or thread, does not open. In a column of text the
same bytes stand in base64 behind ``TEXT_MARK``. Version 0 is plain content that happens to begin with the mark, whole,
behind it: so that what begins with the mark is never content as it is. What cannot be seen: that a row is gone, or is
as it once was.

The nonce is random, so a key may seal 2^32 values (NIST SP 800-38D, section 8.3).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, overload

from vertebra.errors import ContentTampered, EncryptionKeyMissing, EncryptionKeyWrong, MissingExtra, UsageError

MARK, VERSION = b"\xfeVTS", 1
TEXT_MARK = "\x01sealed:"
KEY_ID_BYTES, NONCE_BYTES = 4, 12
_HEADER = len(MARK) + 1 + KEY_ID_BYTES
_PLAIN = MARK + b"\0"

Place = tuple[str | int | None, ...]
"""Table, column, and the key of the row."""


class Seals(Protocol):
    """What content passes on its way into a database and out of it."""

    on: bool

    def seal(self, plain: bytes, *place: str | int | None) -> bytes: ...

    def unseal(self, stored: bytes, *place: str | int | None) -> bytes: ...

    @overload
    def seal_text(self, plain: str, *place: str | int | None) -> str: ...
    @overload
    def seal_text(self, plain: None, *place: str | int | None) -> None: ...

    @overload
    def unseal_text(self, stored: str, *place: str | int | None) -> str: ...
    @overload
    def unseal_text(self, stored: None, *place: str | int | None) -> None: ...

    def digest(self, text: str, *place: str | int | None) -> str:
        """A text to look something up by, which tells nothing of what it was made from."""


class NoSeals:
    """Content as it is. What turns out to be sealed is refused: nobody is handed ciphertext for content."""

    on = False

    def seal(self, plain: bytes, *place: Any) -> bytes:
        return _PLAIN + plain if plain.startswith(MARK) else plain

    def unseal(self, stored: bytes, *place: Any) -> bytes:
        head = bytes(stored[: len(_PLAIN)])
        if head == _PLAIN:
            return bytes(stored[len(_PLAIN) :])
        if head.startswith(MARK):
            raise key_missing()
        return stored

    def seal_text(self, plain: Any, *place: Any) -> Any:
        if plain is not None and plain.startswith(TEXT_MARK):
            raise UsageError("A text begins as sealed content does.", remedy="leave out the control character.")
        return plain

    def unseal_text(self, stored: Any, *place: Any) -> Any:
        if isinstance(stored, str) and stored.startswith(TEXT_MARK):
            raise key_missing()
        return stored

    def digest(self, text: str, *place: Any) -> str:
        return text


class KeySeals:
    """Seals under ``current``, opens under any of ``keys``, which are asked for again should one be unknown."""

    on = True

    def __init__(
        self, current: bytes, keys: Mapping[bytes, bytes], digest_key: bytes, more: Callable[[], Mapping[bytes, bytes]]
    ) -> None:
        self._current = current
        self._ciphers = {id: cipher_of(key) for id, key in keys.items()}
        self._digest_key = digest_key
        self._more = more
        self._lock = threading.Lock()

    def seal(self, plain: bytes, *place: str | int | None) -> bytes:
        head = MARK + bytes((VERSION,)) + self._current
        nonce = os.urandom(NONCE_BYTES)
        sealed: bytes = self._ciphers[self._current].encrypt(nonce, plain, head + _bytes_of(place))
        return head + nonce + sealed

    def unseal(self, stored: bytes, *place: str | int | None) -> bytes:
        """Raises ``ContentTampered``, and ``EncryptionKeyWrong`` for a key that is not at hand."""
        if not isinstance(stored, bytes | bytearray | memoryview):  # SQLite keeps any type in any column
            raise ContentTampered(f"No bytes stand where sealed content should: {_named(place)}.")
        stored = bytes(stored)
        head = stored[:_HEADER]
        if head[: len(MARK)] != MARK:
            raise ContentTampered(f"Plain content stands where sealed content should: {_named(place)}.")
        if len(head) < _HEADER or head[len(MARK)] != VERSION:
            raise ContentTampered(f"Content is not sealed as this release seals: {_named(place)}.")
        cipher = self._cipher(head[-KEY_ID_BYTES:])
        from cryptography.exceptions import InvalidTag

        try:
            plain: bytes = cipher.decrypt(
                stored[_HEADER : _HEADER + NONCE_BYTES], stored[_HEADER + NONCE_BYTES :], head + _bytes_of(place)
            )
        except (InvalidTag, ValueError):
            raise ContentTampered(f"Content was changed, or moved from another place: {_named(place)}.") from None
        return plain

    def seal_text(self, plain: Any, *place: str | int | None) -> Any:
        if plain is None:
            return None
        return TEXT_MARK + base64.b64encode(self.seal(plain.encode("utf-8"), *place)).decode("ascii")

    def unseal_text(self, stored: Any, *place: str | int | None) -> Any:
        if stored is None:
            return None
        if not isinstance(stored, str) or not stored.startswith(TEXT_MARK):
            raise ContentTampered(f"Plain content stands where sealed content should: {_named(place)}.")
        try:
            sealed = base64.b64decode(stored[len(TEXT_MARK) :], validate=True)
        except (ValueError, binascii.Error):
            raise ContentTampered(f"Content is not sealed as this release seals: {_named(place)}.") from None
        return self.unseal(sealed, *place).decode("utf-8")

    def digest(self, text: str, *place: str | int | None) -> str:
        return hmac.new(self._digest_key, _bytes_of((*place, text)), hashlib.sha256).hexdigest()

    def _cipher(self, id: bytes) -> Any:
        if (known := self._ciphers.get(id)) is not None:
            return known
        with self._lock:  # another process has begun a new key since this one opened the store
            for more, key in self._more().items():
                self._ciphers.setdefault(more, cipher_of(key))
        if id not in self._ciphers:
            raise EncryptionKeyWrong(f"The database does not have the key {id.hex()} under which content is sealed.")
        return self._ciphers[id]


def cipher_of(key: bytes) -> Any:
    """AES-256-GCM. Raises ``MissingExtra``."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise MissingExtra(
            "Encryption needs the package cryptography.",
            remedy="pip install 'vertebra[encryption]'",
            extra="encryption",
        ) from error
    return AESGCM(key)


def key_missing() -> EncryptionKeyMissing:
    return EncryptionKeyMissing("The database is encrypted, and no key was given.")


def _bytes_of(place: Place) -> bytes:
    return json.dumps(place, separators=(",", ":")).encode("ascii")


def _named(place: Place) -> str:
    return " ".join(str(part) for part in place)


NO_SEALS = NoSeals()
