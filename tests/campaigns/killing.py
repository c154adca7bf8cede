"""One kill of the campaign: a process that dies, others that take its run over, and the verdict on them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.campaigns.reference import script
from tests.campaigns.verdict import Evidence, Figures, judge
from tests.campaigns.witness import Witness
from tests.servers.preloaded import AtInstant, Crash, Ended, Preloaded
from vertebra.testing import Books, ScriptedModel

DRIVES = "tests.campaigns.drives"
MEASURED_EVERY = 8


@dataclass(frozen=True)
class Unkilled:
    """The run to compare with: its end, how often each crash point is passed, what it pays."""

    end: dict[str, Any]
    passed: dict[str, int]
    paid: int


@dataclass(frozen=True)
class Outcome:
    """What came of a planned kill. ``deaths``: processes that did die; a late instant may find the work done."""

    deaths: int
    processes: int
    figures: Figures
    is_same_end: bool = True


class Place:
    """A thread of its own in a store, with its own model and its own witness."""

    def __init__(self, parent: Preloaded, url: str, folder: Path, model: ScriptedModel) -> None:
        self._parent, self._env = parent, model.env()
        self._thread = os.urandom(6).hex()
        self.url = url or f"sqlite:///{folder}/threads.db?durability=process"
        self._memory = url or f"sqlite:///{folder}/memory.db?durability=process"
        self.witness = Witness(folder)
        self.books: Books = model.books

    def run(self, job: str, crash: Crash | None = None, **args: Any) -> Ended:
        """A process that drives this thread. Raises ``AssertionError`` if it neither ends well nor dies as planned."""
        args |= {"url": self.url, "folder": str(self.witness.folder), "thread": self._thread}
        args["memory"] = self._memory
        ended = self._parent.run(f"{DRIVES}:{job}", args, env=self._env, crash=crash)
        expected = {0} if crash is None else {0, 137} if crash.how == "exit" else {0, -9}
        assert not ended.hung, f"{job} hung (planned: {crash})"
        assert ended.status in expected, f"{job} ended with {ended.status} (planned: {crash}); see its traceback"
        return ended

    def evidence(self, points: Sequence[str], end: dict[str, Any]) -> Evidence:
        seen = self.witness
        return Evidence(points, seen.read("left"), end, self.books, seen.read("started"), seen.read("effects"))


class Pace:
    """How long a run takes at present: measured again and again, since the machine has other work as well."""

    def __init__(self, measure: Callable[[], float]) -> None:
        self._measure = measure
        self._uses, self._run_s = 0, 0.0

    def timed(self, crash: Crash) -> Crash:
        """The crash with its instant in seconds."""
        if not isinstance(crash, AtInstant):
            return crash
        if self._uses % MEASURED_EVERY == 0:
            self._run_s = self._measure()
        self._uses += 1
        return replace(crash, run_s=self._run_s)


class Killer:
    """Kills runs in one store and judges what is left. ``url`` is empty for a fresh SQLite file each time."""

    def __init__(self, parent: Preloaded, url: str) -> None:
        self._parent, self._url = parent, url
        self._pace = Pace(self._undisturbed)

    def unkilled(self) -> Unkilled:
        """Run once in peace; ``recover`` has nothing to do but to say how it ended."""
        with ScriptedModel(sampled=True) as model, tempfile.TemporaryDirectory() as folder:
            script(model)
            place = Place(self._parent, self._url, Path(folder), model)
            first = place.run("counted")
            end = place.run("recover").result
            figures = judge(end, place.evidence([], end))
        return Unkilled(end, first.result, figures.paid)

    def _undisturbed(self) -> float:
        with ScriptedModel(sampled=True) as model, tempfile.TemporaryDirectory() as folder:
            script(model)
            return Place(self._parent, self._url, Path(folder), model).run("start").seconds

    def kill(self, unkilled: Unkilled, *crashes: Crash, **how: Any) -> Outcome:
        """Let one process after the other die as planned; then recover the run in one more, and judge.

        ``how`` goes to the first of them, ``drives.start``.
        """
        with ScriptedModel(sampled=True) as model, tempfile.TemporaryDirectory() as folder:
            script(model)
            place = Place(self._parent, self._url, Path(folder), model)
            timed = [self._pace.timed(crash) for crash in crashes]
            ended = [place.run("start", timed[0], **how), *(place.run("recover", crash) for crash in timed[1:])]
            end = place.run("recover").result
            points = [crash.point for crash, one in zip(crashes, ended, strict=True) if one.died]
            return Outcome(len(points), len(crashes) + 1, judge(unkilled.end, place.evidence(points, end)))

    def every_superstep(self, unkilled: Unkilled, crash: Crash | None = None) -> Outcome:
        """A fresh process for every superstep: killed at its first checkpoint, or drained after it (None)."""
        with ScriptedModel(sampled=True) as model, tempfile.TemporaryDirectory() as folder:
            script(model)
            place = Place(self._parent, self._url, Path(folder), model)
            ended: list[Ended] = []
            while not ended or ended[-1].result != "done":
                assert len(ended) < 60, f"no end in sight after {len(ended)} processes"
                ended.append(place.run("one_edge", crash, drains=crash is None))
            end = place.run("recover").result
            points = [crash.point for one in ended if one.died and crash is not None]
            return Outcome(len(points), len(ended), judge(unkilled.end, place.evidence(points, end)))
