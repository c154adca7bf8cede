"""The processes of the demo: one that provides the models, and one after the other that drives the run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from vertebra.cli.demo.errors import DemoError, DemoFailed, ModelsMissing, ProviderNotReady

Event: TypeAlias = dict[str, Any]

READY_WITHIN_S = 120.0
SILENT_AT_MOST_S = 900.0
"""A run that says nothing for so long is stuck: no request and no wait between two takes that long."""


class Process:
    """A child that speaks JSON lines, in a session of its own, so that Ctrl-C reaches it through us alone.

    Its standard input is a pipe of ours: when this process dies, however it dies, the child ends.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def next(self, within_s: float) -> Event | None:
        """The next line, or None when there are no more. Raises ``TimeoutError``."""
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            raise TimeoutError from None
        if line is None:
            return None
        try:
            event: Event = json.loads(line)
        except ValueError:  # cut off in the middle by a kill
            return None
        return event

    def events(self) -> Iterator[Event]:
        """Its lines until it ends. Raises ``DemoFailed`` when it has been silent for too long."""
        while True:
            try:
                event = self.next(SILENT_AT_MOST_S)
            except TimeoutError:
                self.kill()
                raise DemoFailed(
                    f"The run said nothing for {SILENT_AT_MOST_S:.0f} s and was stopped; its log is {self.log}."
                ) from None
            if event is None:
                return
            yield event

    def kill(self) -> int:
        """SIGKILL: nothing in the child gets to run after this. Returns the exit status."""
        self._child.kill()
        return self._child.wait()

    def end(self) -> int:
        """Close its input, wait a moment, and kill it if it stays. Returns the exit status."""
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            return self._child.wait(5)
        except subprocess.TimeoutExpired:
            return self.kill()

    def wait(self) -> int:
        """Wait for a child that has said its last word."""
        try:
            return self._child.wait(10)
        except subprocess.TimeoutExpired:
            return self.kill()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._listener.join(1)
        if self._child.stdout is not None:
            self._child.stdout.close()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace").strip()[-600:] if self.log.exists() else ""


def start_provider(folder: Path) -> tuple[Process, Event]:
    """The local models, ready to be asked, and what they said of themselves."""
    books = folder / "provider-books.jsonl"
    books.unlink(missing_ok=True)
    log = folder / "provider.log"
    process = Process("vertebra.cli.demo.local_models", ["--books", str(books)], log, {})
    try:
        ready = process.next(READY_WITHIN_S)
    except BaseException as error:
        process.end()
        if isinstance(error, TimeoutError):
            raise ProviderNotReady(f"The local models were not ready after {READY_WITHIN_S:.0f} s ({log}).") from error
        raise
    if ready is None or "error" in ready:
        status = process.end()
        raise _why(ready, status, log, process.last_words())
    return process, ready


def _why(said: Event | None, status: int, log: Path, words: str) -> DemoError:
    if said is not None:
        error = said["error"]
        kind = ModelsMissing if error["code"] == ModelsMissing.code else ProviderNotReady
        return kind(error["message"], remedy=error["remedy"])
    detail = f" It said: {words}" if words else ""
    return ProviderNotReady(f"The local models ended with status {status} before they were ready ({log}).{detail}")
