"""The command, forked from a process that has imported what it needs: its start is mostly imports.

It is a process of its own all the same, with its own streams, folder, environment and end. What is started to be
killed, or to stand on a terminal, is started from nothing.

    with Forks() as forks:
        ran = forks.run(["threads", "--json"], cwd=folder, env=env)
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
REQUEST_BYTES = 1 << 20
LIBRARIES = (
    "langgraph.graph",
    "langgraph.pregel",
    "langgraph.store.base",
    "langchain_core.messages",
    "langchain_core.runnables",
    "openai.resources.chat",
    "openai.resources.embeddings",
    "networkx",
    "httpx",
    "psycopg",
    "psycopg_pool",
    "cryptography.hazmat.primitives.ciphers.aead",
)


class Forks:
    """The parent, as seen from whoever wants the command run. One at a time."""

    def __enter__(self) -> Forks:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.forking"],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            stdin=theirs,
        )
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()  # the end of its input is the end of its work
        self._process.wait(timeout=PATIENCE_S)

    def run(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``vertebra`` to its end. Raises ``subprocess.TimeoutExpired``."""
        request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        with ExitStack() as stack:
            said, told = (stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(2))
            given = os.open(os.devnull, os.O_RDONLY) if stdin is None else _pipe(stdin)
            stack.callback(os.close, given)
            streams = [given, said.fileno(), told.fileno()]
            socket.send_fds(self._socket, [json.dumps(request).encode()], streams)
            pid = self._answer()["pid"]
            self._socket.settimeout(PATIENCE_S)
            try:
                code = self._answer()["code"]
            except TimeoutError as error:
                os.kill(pid, signal.SIGKILL)  # not waited for yet, so that its id is still its own
                self._answer()
                raise subprocess.TimeoutExpired(["vertebra", *arguments], PATIENCE_S) from error
            for stream in (said, told):
                stream.seek(0)
            return subprocess.CompletedProcess(["vertebra", *arguments], code, said.read(), told.read())

    def _answer(self) -> Any:
        return json.loads(self._socket.recv(REQUEST_BYTES))


def _pipe(text: str) -> int:
    """Where this text, of which a pipe holds all, is read."""
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as ours:
        ours.write(text)
    return reading


def main() -> int:
    """Import what the command does, and fork a process for each request until there are no more."""
    _preload()
    with socket.socket(fileno=os.dup(0)) as asked:
        while True:
            data, streams, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 3)
            if not data:
                return 0
            pid = os.fork()
            if pid == 0:
                asked.close()
                return _command(json.loads(data), streams)
            for stream in streams:
                os.close(stream)
            asked.send(json.dumps({"pid": pid}).encode())
            _, status = os.waitpid(pid, 0)
            asked.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())


def _preload() -> None:
    import vertebra

    ours = (found.name for found in pkgutil.walk_packages(vertebra.__path__, "vertebra."))
    for name in (*LIBRARIES, *(name for name in ours if not name.endswith("__main__"))):
        with suppress(ImportError):  # an extra that is not installed
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _command(request: Mapping[str, Any], streams: Sequence[int]) -> int:
    """As the script of that name does, in a process that was set up for it."""
    from vertebra.cli.main import main as vertebra

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["vertebra", *request["arguments"]]
    return vertebra()


if __name__ == "__main__":
    sys.exit(main())
