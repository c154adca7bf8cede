"""The keys that a user gives to seal content: from text, or from a provider of his own."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vertebra.errors import EncryptionKeyInvalid

KEY_BYTES = 32


@runtime_checkable
class KeyProvider(Protocol):
    """Where keys come from: a vault, a file, a key management service. Asked when a store is opened, not for each row.

    The keys here wrap the store's own keys, which seal its rows. Ids are kept in the database, and are no secrets.
    """

    def current_key_id(self) -> str:
        """The id of the key under which new content is sealed."""

    def key(self, key_id: str) -> bytes:
        """The 32 bytes of a key. Raises ``KeyError`` for one that is not known."""


Encryption = str | Sequence[str] | KeyProvider
"""A key in base64, several of which the first seals and all open, or a provider."""


class GivenKeys:
    """Keys that were given as text. Each is known by a digest of it, so that another key is told from a changed row."""

    def __init__(self, texts: Sequence[str]) -> None:
        keys = [_decoded(text) for text in texts]
        if not keys:
            raise EncryptionKeyInvalid("No key is given.")
        self._keys = {_id_of(key): key for key in keys}
        self._current = _id_of(keys[0])

    def current_key_id(self) -> str:
        return self._current

    def key(self, key_id: str) -> bytes:
        return self._keys[key_id]

    def __repr__(self) -> str:
        return f"GivenKeys({', '.join(self._keys)})"


def provider_of(encryption: Encryption) -> KeyProvider:
    """The provider that a user means. Raises ``EncryptionKeyInvalid``; no message has a key in it."""
    if isinstance(encryption, str):
        return GivenKeys([text for text in encryption.split(",") if text.strip()])
    if isinstance(encryption, KeyProvider):
        return encryption
    if isinstance(encryption, bytes | bytearray) or not isinstance(encryption, Sequence):
        raise EncryptionKeyInvalid(f"A key cannot be given as {type(encryption).__name__}.")
    return GivenKeys(encryption)


def _decoded(text: str) -> bytes:
    try:
        plain = text.strip().replace("-", "+").replace("_", "/")
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (AttributeError, ValueError, binascii.Error):
        # From None: the error's words, and its frames' variables, may have the key.
        raise EncryptionKeyInvalid("A key is not base64.") from None
    return require_length(key)


def require_length(key: bytes) -> bytes:
    """Raises ``EncryptionKeyInvalid`` for what is no key of AES-256."""
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise EncryptionKeyInvalid(f"A key is not {KEY_BYTES} bytes long.")
    return key


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"vertebra key id\0" + key).hexdigest()[:16]
