"""The keys of a store: wrapped under a user's, found again, replaced, and refused where they do not fit."""

from __future__ import annotations

import base64
import logging
import secrets
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from vertebra.databases.database import Database
from vertebra.databases.keys import KeyProvider, provider_of
from vertebra.databases.migrating import migrate
from vertebra.databases.opening import open_database
from vertebra.databases.sealing import KeySeals
from vertebra.databases.url import StoreUrl
from vertebra.databases.vault import key_table, open_seals, require_plain, rewrap
from vertebra.errors import (
    EncryptionKeyInvalid,
    EncryptionKeyMissing,
    EncryptionKeyWrong,
    StoreNotEncrypted,
)

TABLE = "keys_of_a_room"


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Provider:
    """What a user writes to have keys from elsewhere."""

    def __init__(self, current: str, **keys: bytes) -> None:
        self.current, self.keys = current, keys
        self.asked: list[str] = []

    def current_key_id(self) -> str:
        return self.current

    def key(self, key_id: str) -> bytes:
        self.asked.append(key_id)
        return self.keys[key_id]


@pytest.fixture
def url(durable_url: str) -> StoreUrl:
    return StoreUrl.parse(durable_url)


@pytest.fixture
def database(url: StoreUrl) -> Iterator[Database]:
    database = open_database(url)
    migrate(database, ((key_table(TABLE),),), table="rooms_schema")
    yield database
    database.close()


@pytest.fixture
def opened(database: Database, url: StoreUrl):
    def open_(*given: str, provider: KeyProvider | None = None, is_empty: bool = True) -> KeySeals:
        return open_seals(database, url, TABLE, provider or provider_of(given), lambda tx, backend: is_empty)

    return open_


def test_a_store_is_opened_again_with_its_key(opened, database: Database) -> None:
    require_plain(database, TABLE)
    key = new_key()
    sealed = opened(key).seal(b"x", "place")
    assert opened(key, is_empty=False).unseal(sealed, "place") == b"x"
    with pytest.raises(EncryptionKeyMissing):
        require_plain(database, TABLE)
    rows = database.run_sync(lambda tx: tx.all(f"SELECT wrapped FROM {TABLE}"))
    assert base64.b64decode(key) not in b"".join(bytes(row[0]) for row in rows)


def test_another_key_is_told_from_this_one(opened) -> None:
    opened(new_key())
    with pytest.raises(EncryptionKeyWrong, match="not among those given"):
        opened(new_key())
    first = Provider("k", k=b"1" * 32)
    opened_under_k = pytest.raises(EncryptionKeyWrong)
    with opened_under_k:
        opened(provider=first)


def test_another_key_under_the_same_name_is_told_too(opened) -> None:
    opened(provider=Provider("k", k=b"1" * 32))
    with pytest.raises(EncryptionKeyWrong, match="another one"):
        opened(provider=Provider("k", k=b"2" * 32))


def test_plain_content_is_not_taken_for_sealed(opened) -> None:
    with pytest.raises(StoreNotEncrypted):
        opened(new_key(), is_empty=False)


def test_a_new_key_seals_and_the_old_one_opens_until_it_is_retired(opened, database: Database) -> None:
    old, new = new_key(), new_key()
    before = opened(old)
    sealed = before.seal(b"x", "place")
    after = opened(new, old)
    assert after.unseal(sealed, "place") == b"x"
    fresh = after.seal(b"y", "place")
    assert fresh[:9] != sealed[:9]
    assert before.digest("yes") == after.digest("yes")
    # The one who opened before learns of the new key when he meets it, if his provider has it.
    with pytest.raises(EncryptionKeyWrong):
        before.unseal(fresh, "place")
    with pytest.raises(EncryptionKeyWrong):
        opened(new)

    assert rewrap(database, TABLE, provider_of([new, old])) == 2
    assert rewrap(database, TABLE, provider_of([new])) == 0
    retired = opened(new)
    assert (retired.unseal(sealed, "place"), retired.unseal(fresh, "place")) == (b"x", b"y")
    assert retired.seal(b"", "p")[:9] == fresh[:9]
    with pytest.raises(EncryptionKeyWrong):
        opened(old)


def test_what_the_old_key_opens_is_in_no_file_any_more_though_another_has_it_open(sqlite_url: str) -> None:
    old, new = new_key(), new_key()
    url = StoreUrl.parse(sqlite_url)
    database, other = open_database(url), open_database(url)
    migrate(database, ((key_table(TABLE),),), table="rooms_schema")
    open_seals(database, url, TABLE, provider_of([old]), lambda tx, backend: True)
    select = f"SELECT wrapped FROM {TABLE}"
    before = [bytes(row[0]) for row in other.run_sync(lambda tx: tx.all(select))]
    assert rewrap(database, TABLE, provider_of([new, old])) == len(before) == 2
    written = b"".join(Path(f"{url.path}{suffix}").read_bytes() for suffix in ("", "-wal"))
    assert [wrapped in written for wrapped in before] == [False, False]
    assert all(bytes(row[0]) in written for row in other.run_sync(lambda tx: tx.all(select)))
    other.close()
    database.close()


def test_processes_with_either_key_as_their_current_one_read_each_other(opened) -> None:
    old, new = new_key(), new_key()
    one, two, again = opened(old, new), opened(new, old), opened(old, new)
    assert one.unseal(two.seal(b"x", "p"), "p") == b"x", "a key that was begun since is asked for"
    assert two.unseal(again.seal(b"y", "p"), "p") == b"y"
    assert again.seal(b"", "p")[:9] == one.seal(b"", "p")[:9]


def test_a_provider_is_asked_at_opening_alone(opened) -> None:
    provider = Provider("k", k=b"1" * 32)
    seals = opened(provider=provider)
    asked = len(provider.asked)
    for _ in range(10):
        seals.unseal(seals.seal(b"x", "p"), "p")
    assert len(provider.asked) == asked <= 3


@pytest.mark.parametrize(
    "given",
    ["", ",", [], "short", base64.b64encode(b"x" * 31).decode(), "ÄÄÄÄ" * 11, b"x" * 32, 7, object(), ["ok", 7]],
)
def test_what_is_no_key_is_refused_without_being_repeated(given: object) -> None:
    with pytest.raises(EncryptionKeyInvalid) as refused:
        provider_of(given)  # type: ignore[arg-type]
    told = "".join(traceback.format_exception(refused.value))
    if isinstance(given, str) and len(given) > 1:
        assert given not in told
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_a_provider_of_half_a_key_is_refused(opened) -> None:
    with pytest.raises(EncryptionKeyInvalid):
        opened(provider=Provider("k", k=b"1" * 16))


def test_keys_are_shown_nowhere(opened, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = new_key()
    provider = provider_of(key)
    seals = opened(provider=provider)
    shown = repr(provider) + repr(seals) + str(provider) + caplog.text
    assert key not in shown
    assert key.rstrip("=") not in shown


@pytest.mark.parametrize("form", [lambda k: k, lambda k: k.rstrip("="), lambda k: f" {k}\n"])
def test_a_key_may_be_written_as_tools_print_it(form) -> None:
    key = base64.b64encode(bytes(range(200, 232))).decode()
    urlsafe = base64.urlsafe_b64encode(bytes(range(200, 232))).decode()
    assert provider_of(form(key)).current_key_id() == provider_of(form(urlsafe)).current_key_id()
    provider = provider_of(f"{form(key)},{new_key()}")
    assert provider.key(provider.current_key_id()) == bytes(range(200, 232))
