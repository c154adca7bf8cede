"""What is told on standard error while a run goes on: live on a terminal, line by line where it is asked for."""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import Any

from vertebra.cli.terminal import Terminal, clean, fit

TAIL = 200


class Progress:
    """Takes the events of a drive. A context manager; silent unless somebody looks or ``verbose`` asks for it."""

    def __init__(self, *, verbose: bool, as_json: bool) -> None:
        self._terminal = Terminal.of(sys.stderr)
        self._live = self._terminal.colour and not as_json
        self._speaks = verbose or (self._terminal.width is not None and not as_json)
        self._running: Counter[str] = Counter()
        self._said = ""
        self._status: Any = None

    def __enter__(self) -> Progress:
        if self._live:
            from rich.console import Console

            console = Console(stderr=True, highlight=False, markup=False, emoji=False)
            self._status = console.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __call__(self, event: Any) -> None:
        """Show one event of ``vertebra.runtime.events``."""
        match type(event).__name__:
            case "NodeStarted":
                self._running[event.node] += event.attempt == 1
            case "NodeFinished":
                self._ended(event.node)
                self._say(event.node, f"done in {event.seconds:.1f} s", "green")
            case "NodeRetried":
                anew = ", asking anew" if event.fresh else ""
                self._say(event.node, f"again in {event.wait_s:.1f} s{anew}: {event.reason}", "yellow")
            case "NodeFailed":
                self._ended(event.node)
                stand_in = f"; {event.stand_in} stands in" if event.stand_in else ""
                self._say(event.node, f"failed{stand_in}: {event.error.message}", "red")
            case "CallFinished" if event.source == "journal":
                self._say(event.node, "a call answered from the journal", "cyan")
            case "RequestsDiffer":
                self._say(event.node, f"asked otherwise than before: {event.new} new calls", "yellow")
            case "Token":
                self._said = (self._said + event.text)[-TAIL:]
        self._show()

    def _ended(self, node: str) -> None:
        self._running[node] = max(0, self._running[node] - 1)
        self._said = ""

    def _say(self, node: str, text: str, style: str) -> None:
        if not self._speaks:
            return
        width = self._terminal.width
        line = fit(" ".join(clean(text).split()), None if width is None else max(10, width - len(node) - 4))
        whole = f"  {clean(node)}  {line}"
        if self._status is not None:
            from rich.text import Text

            self._status.console.print(Text(whole, style=style))
        else:
            print(self._terminal.paint(whole, style), file=sys.stderr, flush=True)

    def _show(self) -> None:
        if self._status is None:
            return
        from rich.text import Text

        nodes = [f"{node} x{count}" if count > 1 else node for node, count in self._running.items() if count > 0]
        line = " ".join(clean(f"{', '.join(nodes)}  {self._said[-60:]}").split())
        self._status.update(Text(fit(line, (self._terminal.width or 80) - 4)))
