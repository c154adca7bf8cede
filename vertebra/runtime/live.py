"""A run as it goes on, in the cell that drives it: its picture lives in one place, and says at the end what it asks.

Only in a notebook's kernel. What goes wrong here goes wrong in the picture: no error of it reaches the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from vertebra.runtime import events
from vertebra.types import Run, Usage, VisitRecord

if TYPE_CHECKING:
    from vertebra.graphs.pictures.marking import Path, Trail
    from vertebra.runtime.driving import Drive

LEAST_WAIT_S = 0.2
"""Between two pictures."""
SHARE = 8
"""Drawing takes at most so small a part of the time: a large graph is drawn less often."""
_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def shown(drive: Drive) -> AsyncIterator[Callable[[Run], None]]:
    """Show the drive while it goes on; what is yielded takes the run at its end."""
    from vertebra.graphs.pictures.notebook import shell

    kernel = shell()
    if kernel is None:
        yield lambda run: None
        return
    live = Live(drive, kernel)
    await live.begin()
    try:
        yield live.ended
    finally:
        live.stop()


class Live:
    """Follows the events of a drive, and draws what they come to, not too often."""

    def __init__(self, drive: Drive, kernel: Any) -> None:
        from vertebra.graphs.pictures.notebook import Place

        self._drive = drive
        self._kernel = kernel
        self._place = Place(kernel)
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._before: Run | None = None
        self._visits: list[VisitRecord] = []
        self._usage: dict[str, Usage] = {}
        self._running: dict[str, float] = {}
        self._attempts: dict[str, int] = {}

    async def begin(self) -> None:
        """Listen, from what the run has done already."""
        from vertebra.runtime.outcome import run_of

        with _harmless():
            self._before = await run_of(self._drive.app, self._drive.record)
            self._visits, self._usage = list(self._before.visits), dict(self._before.usage)
            listener = self._drive.scope.listener

            def listen(event: events.Event) -> None:
                if listener is not None:
                    listener(event)
                with _harmless():
                    self._loop.call_soon_threadsafe(self._see, event)

            self._drive.scope.listener = listen
            self._task = asyncio.create_task(self._draw_on())

    def _see(self, event: events.Event) -> None:
        with _harmless():
            now = time.time()
            match event:
                case events.NodeStarted():
                    self._running.setdefault(event.visit, now)
                    self._attempts[event.visit] = event.attempt
                case events.NodeFinished() | events.NodeSkipped() | events.NodeFailed():
                    self._end(event, now)
                case events.CallFinished():
                    paid = event.source == "provider"
                    self._usage[event.node] = self._usage.get(event.node, Usage()) + Usage(
                        calls=int(paid),
                        replayed=int(not paid),
                        input_tokens=(event.input_tokens or 0) if paid else 0,
                        output_tokens=(event.output_tokens or 0) if paid else 0,
                    )
                case _:
                    return
            self._changed.set()

    def _end(self, event: events.NodeEvent, now: float) -> None:
        began = self._running.pop(event.visit, now)
        outcome = {events.NodeFailed: "failed", events.NodeSkipped: "skipped"}.get(type(event), "done")
        tries = self._attempts.pop(event.visit, 1)
        run = self._drive.record.run_id
        self._visits.append(VisitRecord(event.visit, event.node, event.step, run, outcome, tries, began, now))

    async def _draw_on(self) -> None:
        with _harmless():
            while True:
                began = time.monotonic()
                self._draw()
                self._changed.clear()
                await asyncio.sleep(max(LEAST_WAIT_S, SHARE * (time.monotonic() - began)))
                await self._changed.wait()

    def _draw(self) -> None:
        from vertebra.graphs.pictures import Picture
        from vertebra.graphs.pictures.marking import with_run
        from vertebra.graphs.pictures.sketch import folded

        picture = Picture(folded(with_run(self._drive.app.sketch, self._trail()), 1))
        # The PNG takes ten times as long; it comes with the last picture, which is the one that is kept.
        self._place.show({"image/svg+xml": picture.svg, "text/plain": f"{picture!r}, running"})

    def _trail(self) -> Trail:
        from vertebra.graphs.pictures.marking import Trail, level_of

        running: frozenset[Path] = frozenset(level_of(visit)[0] for visit in self._running)
        return Trail(tuple(self._visits), self._usage, "running", running)

    def ended(self, run: Run) -> None:
        """The last picture, with what the run asks."""
        self.stop()
        with _harmless():
            from vertebra.graphs.pictures.notebook import Place, picture_of, question_bundle, remember

            self._place.show(*picture_of(run.sketch, run)._repr_mimebundle_())
            question = question_bundle(run, self._kernel)
            if question is not None:
                Place(self._kernel).show(question)
            remember(self._kernel, run)

    def stop(self) -> None:
        """Draw no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


@contextlib.contextmanager
def _harmless() -> Any:
    try:
        yield
    except Exception:
        _log.warning("The run goes on, but its picture could not be drawn.", exc_info=True)


__all__ = ["Live", "shown"]
