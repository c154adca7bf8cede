"""Processes forked from a parent that has imported everything, and killed when they are told to be.

A campaign kills thousands of processes, and importing LangGraph and openai takes seconds. So one parent, without a
thread of its own, imports what a run needs; each job is forked from it:

    with Preloaded() as parent:
        ended = parent.run("tests.campaigns.drives:start", {"url": url}, crash=AtPoint("call.sent", 2, "kill"))
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vertebra.testing.crash import How, crash_at, die

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
"""A job that takes longer than this is killed, and reported as hung."""


@dataclass(frozen=True)
class AtPoint:
    """Die at the ``nth`` passing of a named crash point."""

    point: str
    nth: int
    how: How


@dataclass(frozen=True)
class AtInstant:
    """Die when this share of a run's duration has gone by since the job said that it is ready."""

    share: float
    how: How
    run_s: float = 0.0

    point = "instant"


Crash = AtPoint | AtInstant


@dataclass(frozen=True)
class Ended:
    """How a job ended: ``status`` 0 and what it returned, or 137 after ``os._exit`` and -9 after SIGKILL.

    ``hung``: it was killed for taking too long, and not because that was planned.
    """

    status: int
    result: Any
    seconds: float
    """From its being ready to its end."""
    hung: bool

    @property
    def died(self) -> bool:
        return self.status in (137, -signal.SIGKILL)


class Preloaded:
    """The parent, as seen from whoever wants jobs done. One job at a time.

    ``warm``: a job that finds out which modules are to be preloaded, and returns their names.
    """

    def __init__(self, warm: str = "tests.campaigns.drives:warm") -> None:
        self._warm = warm

    def __enter__(self) -> Preloaded:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.preloaded"],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self._preload(self._warm)
        except BaseException:
            self._process.communicate()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=PATIENCE_S)  # the end of its input is the end of its work

    def run(
        self, job: str, args: dict[str, Any], *, env: dict[str, str] | None = None, crash: Crash | None = None
    ) -> Ended:
        """Do a job, named ``module:function``, in a process of its own; it gets ``ready`` and ``args``, all JSON."""
        told = None if crash is None else {"kind": type(crash).__name__, **asdict(crash)}
        return Ended(**self._ask({"job": job, "args": args, "env": env or {}, "crash": told}))

    def _preload(self, job: str) -> None:
        """Let one child find out what a run imports, then have the parent import all of it."""
        names = self.run(job, {}).result
        if names is None:
            raise RuntimeError(f"{job} failed; see its traceback.")
        self._ask({"preload": names})

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("The preloaded parent has died.")
        return json.loads(answer)


def main() -> None:
    """Serve requests, one a line, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a job prints must not be taken for an answer
    for line in sys.stdin:
        request = json.loads(line)
        if "preload" in request:
            for name in request["preload"]:
                with suppress(ImportError):  # some names stand for no file: extension modules make them up
                    importlib.import_module(name)
            gc.collect()
            gc.freeze()
            answer: Any = None
        else:
            answer = _forked(request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _forked(request: dict[str, Any]) -> dict[str, Any]:
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receiving)
        code = 1
        try:
            _do(request, sending)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(sending)
    return _watched(pid, receiving, request["crash"])


def _do(request: dict[str, Any], sending: int) -> None:
    random.seed()
    os.environ.update(request["env"])
    module, _, name = request["job"].partition(":")
    crash = request["crash"] or {"kind": None}
    with ExitStack() as stack:

        def ready() -> None:
            os.write(sending, b"ready\n")
            if crash["kind"] == "AtPoint":
                stack.enter_context(crash_at(crash["point"], nth=crash["nth"], how=crash["how"]))
            elif crash["kind"] == "AtInstant" and crash["how"] == "exit":
                timer = threading.Timer(crash["share"] * crash["run_s"], die, ["exit"])
                timer.daemon = True
                timer.start()

        result = getattr(importlib.import_module(module), name)(ready, **request["args"])
    data = json.dumps(result).encode()
    while data:
        data = data[os.write(sending, data) :]


def _watched(pid: int, receiving: int, crash: dict[str, Any] | None) -> dict[str, Any]:
    """Read what the child says until it ends, and kill it when its time has come."""
    heard, begun = b"", time.monotonic()
    kill_at, is_ready, is_planned, hung = begun + PATIENCE_S, False, False, False
    while True:
        readable, _, _ = select.select([receiving], [], [], max(0.0, kill_at - time.monotonic()))
        if not readable:
            os.kill(pid, signal.SIGKILL)  # not waited for yet, so that its id is still its own
            kill_at, is_planned, hung = time.monotonic() + PATIENCE_S, False, hung or not is_planned
            continue
        data = os.read(receiving, 65536)
        heard += data
        if not is_ready and heard.startswith(b"ready\n"):
            is_ready, begun = True, time.monotonic()
            if crash is not None and crash["kind"] == "AtInstant" and crash["how"] == "kill":
                kill_at, is_planned = begun + crash["share"] * crash["run_s"], True
        if not data:
            break
    os.close(receiving)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    said = heard.removeprefix(b"ready\n")
    return {
        "status": code,
        "result": json.loads(said) if code == 0 and said else None,
        "seconds": time.monotonic() - begun,
        "hung": hung,
    }


if __name__ == "__main__":
    main()
