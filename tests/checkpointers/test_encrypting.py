"""A plain SQLite store encrypted where it is: nothing plain is left in the file, wherever it was killed meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from tests.checkpointers.encrypted import WORD, answering, columns_with, graph, live, mend, new_key
from tests.checkpointers.faulty import at
from vertebra import open_checkpointer
from vertebra.checkpointers import StoreUrl
from vertebra.checkpointers.encrypting import encrypt
from vertebra.errors import (
    EncryptionKeyMissing,
    EncryptionKeyWrong,
    StoreNotEncrypted,
    StoreUnavailable,
    UsageError,
    VertebraError,
)
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel, crash_at
from vertebra.testing.conformance_checks import put

KEY = new_key()


@pytest.fixture(autouse=True)
def model(scripted_model: ScriptedModel) -> ScriptedModel:
    return answering(scripted_model)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:////{str(tmp_path).lstrip('/')}/store.db"


def app(url: str, key: str | None) -> App:
    return graph().compile(checkpointer=url, encryption=key, default_model="m")


REMNANT = "what was deleted"


async def lived(url: str) -> None:
    """Threads of all kinds, and the room of what was deleted, which is not overwritten."""
    async with app(url, None) as it:
        for thread in ("t", "gone"):
            await live(it, thread)
        await it.fork("t", thread_id="fork")
        store = it.services.store
        await store.saver.adelete_thread("gone")
    path = Path(StoreUrl.parse(url).path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("CREATE TABLE gone (text TEXT)")
        connection.execute("INSERT INTO gone VALUES (?)", (REMNANT * 5000,))
        connection.commit()
        connection.execute("DROP TABLE gone")
        connection.commit()
    assert REMNANT.encode() in path.read_bytes()
    assert "the file" in columns_with(url)


def require_nothing_plain(url: str) -> None:
    """No word of threads in any column nor in the file, nor of what was deleted."""
    assert columns_with(url) == set()
    assert REMNANT.encode() not in Path(StoreUrl.parse(url).path).read_bytes()


async def went_on(url: str) -> None:
    """The thread is mended, and its history is what it was, by whoever has the key."""
    with pytest.raises(EncryptionKeyMissing):
        open_checkpointer(url)
    async with app(url, KEY) as it:
        assert (await mend(it)).sent == WORD
        assert len([edge async for edge in it.history("t")]) > 4
    require_nothing_plain(url)


def killed_at(point: str, nth: int, url: str) -> int:
    """The exit code of a child that encrypts the store and is killed meanwhile."""
    child = os.fork()
    if child == 0:
        with crash_at(point, nth=nth):
            encrypt(url, KEY)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def test_nothing_plain_is_left(url: str) -> None:
    await lived(url)
    told: list[tuple[str, int, int]] = []
    encrypted = encrypt(url, KEY, lambda *args: told.append(args))
    require_nothing_plain(url)
    assert encrypted.threads == 3 - 1, "the deleted one has no state"
    assert ("rows", encrypted.rows, encrypted.rows) in told
    assert ("threads", encrypted.threads, encrypted.threads) in told
    again = encrypt(url, KEY)
    assert (again.rows, again.threads) == (0, 0)
    await went_on(url)


async def test_calls_are_answered_from_the_journal_after_it(url: str, model: ScriptedModel) -> None:
    """The hash by which a recorded answer is found is another in an encrypted store."""
    await lived(url)
    paid = len(model.books)
    encrypt(url, KEY)
    async with app(url, KEY) as it:
        assert (await it.verify("t")).ok
        first = [state async for state in it.history("t")][-1].config["configurable"]["checkpoint_id"]
        await it.fork("t", at=first, thread_id="anew")
        assert (await it.resume("anew")).status == "interrupted"
    assert len(model.books) == paid


@pytest.mark.parametrize(
    "point", ["encrypt.row", "encrypt.row 7", "encrypt.thread", "encrypt.sealed", "encrypt.rewritten"]
)
async def test_killed_it_is_plain_or_sealed_and_goes_on(url: str, point: str) -> None:
    await lived(url)
    name, _, nth = point.partition(" ")
    assert killed_at(name, int(nth or 1), url) == -9
    sealed = name in ("encrypt.sealed", "encrypt.rewritten")
    with pytest.raises(EncryptionKeyMissing if sealed else StoreNotEncrypted):
        open_checkpointer(url, encryption=None if sealed else KEY)
    if not sealed:
        async with app(url, None) as it:
            assert [edge async for edge in it.history("t")]
    encrypt(url, KEY)
    require_nothing_plain(url)
    await went_on(url)


def told_at_the_limit(point: str, url: str) -> str:
    """What a child says that encrypts the store, and from the point on can write no file beyond 4 KB."""
    said, tell = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with at(point, 1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))):
            try:
                encrypt(url, KEY)
            except StoreUnavailable as error:
                os.write(tell, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(said, 10_000).decode()


@pytest.mark.parametrize("point", ["encrypt.row", "encrypt.sealed"])
async def test_a_file_that_cannot_be_written_is_told_with_what_is_left_in_it(url: str, point: str) -> None:
    """By a limit of the system on the size of files, which no write passes."""
    await lived(url)
    told = told_at_the_limit(point, url)
    sealed = point == "encrypt.sealed"
    assert told.startswith("All is sealed under the key, but plain content may be" if sealed else "Nothing was sealed.")
    assert "then encrypt it again" in told
    with pytest.raises(EncryptionKeyMissing if sealed else StoreNotEncrypted):
        open_checkpointer(url, encryption=None if sealed else KEY)
    encrypt(url, KEY)
    require_nothing_plain(url)


async def test_who_has_the_store_open_keeps_it_plain(url: str) -> None:
    await lived(url)
    with open_checkpointer(url) as store:
        with pytest.raises(StoreUnavailable, match="open elsewhere"):
            encrypt(url, KEY)
        assert not store.encrypted
    encrypt(url, KEY)
    assert columns_with(url) == set()


async def test_what_cannot_be_encrypted_stays_as_it_is(url: str, tmp_path: Path) -> None:
    await lived(url)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        SqliteSaver(connection).put(
            {"configurable": {"thread_id": "theirs", "checkpoint_ns": ""}},
            {"v": 4, "id": "1", "ts": "", "channel_values": {}, "channel_versions": {}, "versions_seen": {}},  # type: ignore[typeddict-item]
            {},
            {},
        )
        connection.commit()
    with pytest.raises(UsageError, match="LangGraph's own saver"):
        encrypt(url, KEY)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("DELETE FROM checkpoints")
        connection.execute(
            "INSERT INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, value) "
            "VALUES ('torn', '', '1', 'task', 0, 'text', 'msgpack', x'00')"
        )
        connection.commit()
    with pytest.raises(UsageError, match="'torn'"):
        encrypt(url, KEY)
    with open_checkpointer(url) as store:
        assert not store.encrypted
    for elsewhere in ("memory://", "postgresql://localhost/x"):
        with pytest.raises(UsageError, match="SQLite"):
            encrypt(elsewhere, KEY)


async def test_another_key_opens_nothing_and_changes_nothing(url: str) -> None:
    with open_checkpointer(url) as store:
        await put(store.saver, "t", {"text": WORD * 100})
    encrypt(url, KEY)
    with pytest.raises(EncryptionKeyWrong):
        encrypt(url, new_key())
    with pytest.raises(VertebraError):
        encrypt(url, "no key")
    with open_checkpointer(url, encryption=KEY) as store:
        assert store.encrypted
