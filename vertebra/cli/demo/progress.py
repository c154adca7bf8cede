"""What one sees while the demo runs: a board that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vertebra.cli.demo.story import STAGES

_DOING = {
    "cut": "cutting the recording at its silences",
    "transcribe": "transcribing, slice by slice",
    "collate": "putting the passages in order",
    "summarise": "noting what matters, in parallel",
    "draft": "drafting the report",
    "approve": "waiting for a person",
    "deliver": "writing the report",
}


@dataclass
class Row:
    """One stage as the board shows it."""

    started: int = 0
    finished: int = 0
    began_at: float = 0.0
    ended_at: float | None = None
    mark: str = "·"
    note: str = ""


@dataclass
class Progress:
    """Takes the events of the processes and shows them. A context manager."""

    stream: TextIO
    rows: dict[str, Row] = field(default_factory=lambda: {name: Row() for name, _ in STAGES})
    text: str = ""

    def __post_init__(self) -> None:
        self.console = console_for(self.stream)
        self._live: Live | None = None

    @property
    def is_live(self) -> bool:
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def __enter__(self) -> Progress:
        if self.is_live:
            self._live = Live(self, console=self.console, refresh_per_second=8, transient=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, line: str, style: str = "") -> None:
        """A line that stays."""
        (self._live.console if self._live else self.console).print(Text(line, style=style))

    def see(self, event: dict[str, Any]) -> None:
        """Show one event."""
        row = self.rows.get(event.get("node", ""))
        match event["event"]:
            case "NodeStarted" if row is not None:
                self._started(row, event)
            case "NodeFinished" if row is not None:
                row.finished += 1
                if row.finished >= row.started:
                    row.mark, row.ended_at = "✓", time.monotonic()
                    self.text = ""
                if not self.is_live:
                    of = f" ({row.finished} of {row.started})" if row.started > 1 else ""
                    self.say(f"  {event['node']}: done{of}")
            case "CallFinished" if event["source"] == "journal" and row is not None:
                row.note = "answered from the journal"
                self.say(f"  {event['node']}: a call was answered from the journal, not asked again", "green")
            case "Token":
                self.text += event["text"]
            case "NodeRetried" if row is not None:
                self.say(f"  {event['node']}: tried again after {event['reason'][:160]}", "yellow")

    def killed(self, node: str) -> None:
        """The process died in this stage."""
        row = self.rows[node]
        row.mark, row.ended_at, row.note = "✗", time.monotonic(), "killed here"
        row.started = row.finished
        self.text = ""

    def _started(self, row: Row, event: dict[str, Any]) -> None:
        if row.started == 0 or row.mark == "✗":
            row.began_at = time.monotonic()
            if not self.is_live:
                self.say(f"  {event['node']}: {_DOING[event['node']]} ...")
        if event["node"] == "approve":
            row.started = row.finished  # it is executed once to ask and once with the answer
        row.started += 1
        row.mark, row.ended_at = "▸", None

    def __rich__(self) -> Group:
        table = Table.grid(padding=(0, 1))
        for name, _ in STAGES:
            row = self.rows[name]
            style = {"✓": "green", "▸": "bold", "✗": "bold red"}.get(row.mark, "dim")
            count = f"{row.finished}/{row.started}" if row.started > 1 else ""
            until = row.ended_at if row.ended_at is not None else time.monotonic()
            spent = f"{until - row.began_at:.1f} s" if row.began_at and name != "approve" else ""
            doing = row.note or (_DOING[name] if row.mark == "▸" else "")
            table.add_row(
                Text(f"  {row.mark}", style=style), Text(name, style=style), count, Text(spent, style="dim"), doing
            )
        if not self.text:
            return Group(table)
        width = max(20, self.console.width - 6)
        return Group(table, Text("    " + self.text[-width:].replace("\n", " "), style="italic cyan"))


def console_for(stream: TextIO) -> Console:
    """A console that keeps to NO_COLOR, and to a readable width where there is no terminal."""
    is_tty = stream.isatty()
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a mark that the terminal cannot show is no reason to fail
    return Console(
        file=stream,
        no_color=True if os.environ.get("NO_COLOR") else None,
        highlight=False,
        width=None if is_tty else 120,
        legacy_windows=False,
        emoji=False,
        markup=False,
    )


def can_ask() -> bool:
    """Whether there is a person at a terminal to answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
