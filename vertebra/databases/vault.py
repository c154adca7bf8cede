"""The keys of a store, kept in it: made once, wrapped under a user's key, and wrapped anew when that one changes.

Rows are sealed under a key of the store's own, so that a user's key is used a few times only, may stay in a key
management service, and can be replaced without writing every row again (envelope encryption, NIST SP 800-57 part 1,
section 5.3.6). A new key of the user begins a new key of the store; what was sealed before opens under the old ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from vertebra.databases.database import Database, Row, Tx
from vertebra.databases.keys import KeyProvider, require_length
from vertebra.databases.opening import read_apart
from vertebra.databases.sealing import KEY_ID_BYTES, NONCE_BYTES, KeySeals, cipher_of, key_missing
from vertebra.databases.url import StoreUrl
from vertebra.errors import EncryptionKeyWrong, StoreNotEncrypted
from vertebra.ports import crash_point

_DIGESTS = "digests"
"""The id of the key that makes digests: the same for ever, for by them rows are found."""


def key_table(table: str) -> str:
    """The statement that makes a room's table of keys."""
    return f"""
        CREATE TABLE {table} (
            id TEXT PRIMARY KEY,
            number BIGINT NOT NULL,
            wrapped_by TEXT NOT NULL,
            wrapped BLOB NOT NULL,
            created_at DOUBLE PRECISION NOT NULL
        )
    """


def require_plain(database: Database, table: str) -> None:
    """Raise ``EncryptionKeyMissing`` for a database that is opened without a key and needs one, now or later."""
    if database.run_sync(lambda tx: tx.one(f"SELECT 1 FROM {table} LIMIT 1")) is not None:
        raise key_missing()
    database.plain_while_empty = table


def open_seals(
    database: Database, url: StoreUrl, table: str, provider: KeyProvider, is_empty: Callable[[Tx, str], bool]
) -> KeySeals:
    """The seals of a store, which is encrypted from now on if it ``is_empty``.

    Raises ``EncryptionKeyWrong``, ``EncryptionKeyInvalid``, ``StoreNotEncrypted``, ``MissingExtra``.
    """
    wraps = _Wraps(provider, table)
    database.plain_while_empty = None

    def opened(tx: Tx) -> tuple[dict[str, bytes], str]:
        tx.lock(f"vertebra keys {table}")
        rows = _rows(tx, table)
        if not rows:
            if tx.backend == "postgresql":  # until whoever writes plain rows has ended, and will look again
                tx.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            if not is_empty(tx, database.backend):
                raise StoreNotEncrypted("The database holds content that is not encrypted, and a key was given.")
        return _begun(tx, table, wraps, rows)

    keys, current = database.run_sync(opened)

    def more() -> Mapping[bytes, bytes]:
        if url.backend == "memory":
            return {}
        return _by_bytes(wraps.opened(read_apart(url, lambda tx: _rows(tx, table))))

    return KeySeals(bytes.fromhex(current), _by_bytes(keys), keys[_DIGESTS], more)


def begin_seals(tx: Tx, table: str, provider: KeyProvider) -> KeySeals | None:
    """Seals for content that is plain, in the transaction that seals it; None for a store that has keys.

    Raises ``EncryptionKeyWrong`` where those are wrapped under a key that is not given.
    """
    wraps, rows = _Wraps(provider, table), _rows(tx, table)
    if rows:
        wraps.opened(rows)
        return None
    keys, current = _begun(tx, table, wraps, rows)
    return KeySeals(bytes.fromhex(current), _by_bytes(keys), keys[_DIGESTS], dict)


def _begun(tx: Tx, table: str, wraps: _Wraps, rows: list[Row]) -> tuple[dict[str, bytes], str]:
    """All keys of the store, and the id of the one to seal under, which is made where the user's key is a new one."""
    keys = wraps.opened(rows)
    current = [id for id, wrapped_by, _ in rows if wrapped_by == wraps.current and id != _DIGESTS]
    if not current:
        current = [os.urandom(KEY_ID_BYTES).hex()]
        for id in current if _DIGESTS in keys else (_DIGESTS, *current):
            keys[id] = os.urandom(32)
            tx.execute(
                f"INSERT INTO {table} (id, number, wrapped_by, wrapped, created_at) VALUES (?, ?, ?, ?, ?)",
                *(id, len(keys), wraps.current, wraps.wrapped(id, keys[id]), tx.now()),
            )
    return keys, current[-1]


def rewrap(database: Database, table: str, provider: KeyProvider) -> int:
    """Wrap all keys of the store under the provider's current one, after which the others open nothing any more.

    Returns how many were under another key. Raises ``EncryptionKeyWrong``, and ``StoreUnavailable`` while another
    connection reads the log of a SQLite file: then all are wrapped, and the log is emptied when this is done again.
    """
    wraps = _Wraps(provider, table)

    def work(tx: Tx) -> int:
        tx.lock(f"vertebra keys {table}")
        if tx.backend == "sqlite":
            tx.one("PRAGMA secure_delete=ON")
        rows = _rows(tx, table)
        keys = wraps.opened(rows)
        old = [id for id, wrapped_by, _ in rows if wrapped_by != wraps.current]
        for id in old:
            tx.execute(
                f"UPDATE {table} SET wrapped_by = ?, wrapped = ? WHERE id = ?",
                *(wraps.current, wraps.wrapped(id, keys[id]), id),
            )
            crash_point("rekey.key")
        return len(old)

    count = database.run_sync(work)
    crash_point("rekey.wrapped")
    database.wipe_sync()  # in the log the keys still stand as they were wrapped before
    return count


def is_wrapped(url: StoreUrl, table: str, provider: KeyProvider) -> bool | None:
    """Whether any key of a room's is wrapped under one that the provider has; None where the room has no keys.

    On a connection of its own: the room need not be open, nor be one that these keys open.
    """
    under = [row[1] for row in read_apart(url, lambda tx: _rows(tx, table))]
    return any(_has(provider, id) for id in under) if under else None


def _has(provider: KeyProvider, key_id: str) -> bool:
    try:
        provider.key(key_id)
    except KeyError:
        return False
    return True


class _Wraps:
    """A user's keys around those of the store."""

    def __init__(self, provider: KeyProvider, table: str) -> None:
        self._provider, self._table = provider, table
        self.current = provider.current_key_id()

    def wrapped(self, id: str, key: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        sealed: bytes = self._cipher(self.current).encrypt(nonce, key, self._about(id, self.current))
        return nonce + sealed

    def opened(self, rows: list[Row]) -> dict[str, bytes]:
        """The keys by their ids. Raises ``EncryptionKeyWrong``."""
        return {id: self._unwrapped(id, wrapped_by, bytes(wrapped)) for id, wrapped_by, wrapped in rows}

    def _unwrapped(self, id: str, wrapped_by: str, wrapped: bytes) -> bytes:
        cipher = self._cipher(wrapped_by)
        from cryptography.exceptions import InvalidTag

        try:
            key: bytes = cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], self._about(id, wrapped_by))
        except (InvalidTag, ValueError):
            raise EncryptionKeyWrong(
                f"The key {wrapped_by!r} is another one than the database was sealed with."
            ) from None
        return key

    def _cipher(self, key_id: str) -> Any:
        try:
            key = self._provider.key(key_id)
        except KeyError:
            raise EncryptionKeyWrong(
                f"The database was sealed under the key {key_id!r}, which is not among those given."
            ) from None
        return cipher_of(require_length(key))

    def _about(self, id: str, wrapped_by: str) -> bytes:
        return json.dumps([self._table, id, wrapped_by]).encode()


def _rows(tx: Tx, table: str) -> list[Row]:
    return tx.all(f"SELECT id, wrapped_by, wrapped FROM {table} ORDER BY number")


def _by_bytes(keys: Mapping[str, bytes]) -> dict[bytes, bytes]:
    return {bytes.fromhex(id): key for id, key in keys.items() if id != _DIGESTS}
