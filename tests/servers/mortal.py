"""A Postgres of one test's own, to be killed and started again on the same data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.servers import postgres


class MortalServer:
    """Started by ``postgres.start`` for its folder; ``die`` and ``rise`` as often as wanted."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.url = postgres.start(folder, os.getpid(), **settings)
        self._settings = postgres._SETTINGS | settings
        self._data = folder / "home" / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def die(self, number: int = signal.SIGKILL) -> None:
        """SIGKILL: as if its machine had gone. SIGINT: a restart, which breaks off what is under way."""
        pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, number)
        if self._process is not None:
            self._process.wait()
        while _is_alive(pid):
            time.sleep(0.02)

    def rise(self) -> None:
        programs, ids = postgres._programs(self.folder)
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        user: dict[str, Any] = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
        home = self.folder / "home"
        deadline = time.monotonic() + 30
        while True:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", self._data, "-k", home, *settings],
                cwd=home,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **user,
            )
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    psycopg.connect(self.url, connect_timeout=5).close()
                    return
                except psycopg.OperationalError:
                    time.sleep(0.05)
            assert time.monotonic() < deadline, "Postgres did not rise again"  # its old children may still be there

    def stop(self) -> None:
        if self._process is None:
            postgres.stop(self.folder)
            return
        self._process.send_signal(signal.SIGQUIT)  # its guard has ended with the first one
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
