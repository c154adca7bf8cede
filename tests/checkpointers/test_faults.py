"""The database fails for real in mid-run: a typed error, and a thread that goes on, paying nothing twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint

from tests.checkpointers.faulty import at, opened, require_whole
from tests.servers import postgres
from tests.servers.mortal import MortalServer
from vertebra import open_checkpointer
from vertebra.checkpointers import ids
from vertebra.errors import ClockSetBack, StoreCorrupt, StoreUnavailable
from vertebra.testing import ScriptedModel
from vertebra.testing.conformance_checks import at as thread
from vertebra.testing.conformance_checks import put

ROOT = Path(__file__).parent.parent.parent
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk, or become another user")


def later(seconds: float, action: object) -> None:
    threading.Timer(seconds, action).start()  # type: ignore[arg-type]


class Disk:
    """A real disk of 3 MB (tmpfs)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"x" * 4096) == 4096:
                    pass
            except OSError:
                pass

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=True)
    yield Disk(folder)
    subprocess.run(["umount", "-l", folder], check=True)


@is_root
@pytest.mark.parametrize("point", ["node.returned", "writes.before", "checkpoint.before", "node.started"])
def test_a_full_disk(disk: Disk, scripted_model: ScriptedModel, point: str) -> None:
    with opened(f"sqlite:///{disk.folder}/threads.db") as app:
        with at(point, 2, disk.fill), pytest.raises(StoreUnavailable, match="free disk space"):
            app.run_sync({}, thread_id="t")
        disk.free()
        assert app.status_sync("t").status == "running"
        # Its lease could not be let go of either, and has to run out.
        require_whole(app.resume_sync("t", wait_s=10), scripted_model)


@is_root
def test_an_answer_that_is_paid_for_waits_for_a_full_disk(disk: Disk, scripted_model: ScriptedModel) -> None:
    def fill() -> None:
        disk.fill()
        later(1.0, disk.free)

    with opened(f"sqlite:///{disk.folder}/threads.db") as app:
        with at("call.sent", 2, fill):
            run = app.run_sync({}, thread_id="t")
        require_whole(run, scripted_model)


def test_a_corrupt_file_is_restored_from_a_backup(tmp_path: Path, scripted_model: ScriptedModel) -> None:
    path, url = tmp_path / "threads.db", f"sqlite:///{tmp_path}/threads.db"
    fail(url, scripted_model)
    with open_checkpointer(url):
        pass  # its last connection to be closed folds the log into the file
    backup = path.read_bytes()
    path.write_bytes(backup[:4096] + b"\xde\xad" * ((len(backup) - 4096) // 2))
    with pytest.raises(StoreCorrupt, match="restore the database from a backup"), opened(url) as app:
        app.resume_sync("t")
    path.write_bytes(backup)
    with opened(url) as app:
        require_whole(app.resume_sync("t"), scripted_model)


@pytest.mark.parametrize("what", ["deleted", "replaced"])
async def test_a_file_that_goes_from_its_place_while_it_is_open_is_written_no_more(
    tmp_path: Path, scripted_model: ScriptedModel, what: str
) -> None:
    """SQLite would go on with the file that it has open, and a run would succeed in writing to nowhere."""
    path, url = tmp_path / "threads.db", f"sqlite:///{tmp_path}/threads.db"
    fail(url, scripted_model)
    with open_checkpointer(url):
        pass
    backup = path.read_bytes()
    with opened(url) as app:
        await app.status("t")
        store = app.services.store
        found = await store.saver.aget_tuple(thread("t"))
        assert found is not None
        path.unlink()
        if what == "replaced":
            path.write_bytes(backup)
        for use in (
            lambda: app.resume("t"),
            lambda: app.status("t"),
            lambda: store.saver.aget_tuple(thread("t")),
            lambda: store.saver.inner.aput_writes(found.config, [("__error__", "x")], "task"),
        ):
            with pytest.raises(StoreUnavailable, match=f"was {what} while it was open.*remove the old -wal"):
                await use()
    assert path.exists() == (what == "replaced")
    for ending in ("", "-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    path.write_bytes(backup)
    with opened(url) as app:
        require_whole(await app.resume("t"), scripted_model)


def test_a_file_that_is_cut_while_it_is_open_is_an_error_and_no_death(tmp_path: Path) -> None:
    """In a process of its own: one that had mapped the file died of SIGBUS here."""
    url = f"sqlite:///{tmp_path}/threads.db"
    config = None
    with open_checkpointer(url) as store:
        for length in range(1, 80):
            state = {"log": [f"{n:08}".ljust(1024, "x") for n in range(length)]}
            config = asyncio.run(put(store.saver, "t", state, after=config))
    said, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open_checkpointer(url) as store:
                store.saver.get_tuple(thread("other"))  # the connection is open
                os.truncate(tmp_path / "threads.db", 40_960)
                store.saver.get_tuple(thread("t"))
        except BaseException as error:
            os.write(tell, type(error).__name__.encode())
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.read(said, 100) == b"StoreCorrupt"


@is_root
def test_a_file_that_may_not_be_written(sqlite_url: str, scripted_model: ScriptedModel) -> None:
    """As another user, since no mode binds root."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        url = f"sqlite:///{folder}/threads.db"
        fail(url, scripted_model)
        with open_checkpointer(url) as store:
            assert store.saver
        folder.chmod(0o755)
        said, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                with opened(url) as app:
                    app.resume_sync("t")
            except BaseException as error:
                os.write(tell, f"{type(error).__name__} {getattr(error, 'remedy', error)}".encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(said, 1000).decode().startswith("StoreUnavailable make the file and its folder writable")
        with opened(url) as app:
            require_whole(app.resume_sync("t"), scripted_model)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def mortal() -> Iterator[MortalServer]:
    server = MortalServer(postgres.folder_for_session())
    yield server
    server.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("point", "how"),
    [("checkpoint.before", signal.SIGKILL), ("node.started", signal.SIGINT), ("writes.before", signal.SIGKILL)],
)
def test_a_server_that_is_killed_and_restarted_in_mid_run(
    mortal: MortalServer, scripted_model: ScriptedModel, point: str, how: int
) -> None:
    with opened(mortal.url) as app:
        with at(point, 2, lambda: mortal.die(how)), pytest.raises(StoreUnavailable) as caught:
            app.run_sync({}, thread_id="t")
        assert "resume the thread" in caught.value.remedy
        mortal.rise()
        require_whole(app.resume_sync("t", wait_s=10), scripted_model)


@pytest.mark.timeout(300)
def test_an_answer_that_is_paid_for_waits_for_the_server(mortal: MortalServer, scripted_model: ScriptedModel) -> None:
    def die() -> None:
        mortal.die()
        later(1.0, mortal.rise)

    with opened(mortal.url) as app:
        with at("call.sent", 2, die):
            run = app.run_sync({}, thread_id="t")
        require_whole(run, scripted_model)


@pytest.mark.timeout(300)
def test_a_server_that_takes_no_more_connections(
    postgres_server: str, postgres_url: str, scripted_model: ScriptedModel
) -> None:
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    url = postgres_url.replace("//postgres@", f"//r_{name}@")
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f'CREATE ROLE "r_{name}" LOGIN CONNECTION LIMIT 6')
        admin.execute(f'ALTER DATABASE "{name}" OWNER TO "r_{name}"')
        try:
            with opened(url) as app:
                hogs: list[psycopg.Connection] = []

                def exhaust() -> None:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (f"r_{name}",)
                    )
                    while len(hogs) < 6:
                        try:
                            hogs.append(psycopg.connect(url))
                        except psycopg.OperationalError:  # those cut off have not gone yet
                            time.sleep(0.05)

                with at("node.started", 2, exhaust), pytest.raises(StoreUnavailable, match="max_connections"):
                    app.run_sync({}, thread_id="t")
                with pytest.raises(StoreUnavailable, match="max_connections"):
                    open_checkpointer(url)
                for hog in hogs:
                    hog.close()
                require_whole(app.resume_sync("t", wait_s=10), scripted_model)
        finally:
            admin.execute(f'ALTER DATABASE "{name}" OWNER TO postgres')
            with psycopg.connect(postgres_url, autocommit=True) as own:
                own.execute(f'REASSIGN OWNED BY "r_{name}" TO postgres')
                own.execute(f'DROP OWNED BY "r_{name}"')
            admin.execute(f'DROP ROLE "r_{name}"')


def begun(
    action: str, url: str, model: ScriptedModel, *, thread: str = "t", **environment: str
) -> subprocess.Popen[str]:
    """The graph in a process of its own, which goes on beside this one."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.checkpointers.faulty", action, url, thread],
        env={**os.environ, **model.env(), "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(child: subprocess.Popen[str]) -> str:
    """What it has printed, once it has ended."""
    with child:
        out, error = child.communicate(timeout=60)
    assert child.returncode == 0, error
    return out.strip()


def fail(url: str, model: ScriptedModel) -> None:
    """The graph, broken off in the middle in a process of its own."""
    with begun("fail", url, model) as child:
        child.communicate(timeout=60)


@pytest.mark.timeout(300)
def test_two_processes_on_one_sqlite_file(sqlite_url: str, scripted_model: ScriptedModel) -> None:
    children = [begun("begin", sqlite_url, scripted_model, thread=f"t{n}") for n in range(3)]
    with opened(sqlite_url) as app:
        mine = [app.run_sync({}, thread_id=f"mine{n}").status for n in range(3)]
        assert [said(child) for child in children] == ["done"] * 3 == mine
    assert set(Counter(e.idempotency_key for e in scripted_model.books.paid()).values()) == {1}
    assert len(scripted_model.books.paid()) == 18


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("cc") is None:
        pytest.skip("to shift the clock of a process, a C compiler is needed")
    made = tmp_path_factory.mktemp("clock") / "shifted_clock.so"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return str(made)


@pytest.mark.timeout(300)
def test_a_clock_that_was_set_back(durable_url: str, scripted_model: ScriptedModel, shim: str) -> None:
    """Its checkpoints would sort before those that are there, and the thread stand still for ever."""
    fail(durable_url, scripted_model)
    assert said(begun("resume", durable_url, scripted_model, LD_PRELOAD=shim, SHIFT_S="-3600")) == "clock_set_back"
    assert len(scripted_model.books.paid()) == 1
    assert said(begun("resume", durable_url, scripted_model, LD_PRELOAD=shim, SHIFT_S="-4")) == "done"
    with opened(durable_url) as app:
        require_whole(app.status_sync("t"), scripted_model)


def test_what_an_id_says_of_its_time() -> None:
    now, checkpoint = time.time(), empty_checkpoint()
    made = ids.made_at(checkpoint["id"])
    assert made is not None
    assert abs(made - now) < 5
    assert ids.wait_s(checkpoint["id"], "t") < 1
    assert ids.made_at("no uuid") is ids.made_at("9f1b7a1e-38d2-4a34-9f0b-6f9f5f0b7c11") is None
    assert ids.wait_s("no uuid", "t") == 0
    later_id = empty_checkpoint()["id"]
    ids.require_later(later_id, checkpoint["id"], "t")
    ids.require_later("a", "b", "t")
    ids.require_later("a", None, "t")
    with pytest.raises(ClockSetBack, match="set back"):
        ids.require_later(checkpoint["id"], later_id, "t")
