"""The schedule campaign: numbered schedules, each a seed for the order of tasks and for where the run is stopped.

A schedule that fails is played alone by ``python -m tests.campaigns.schedules NUMBER``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.campaigns.reference import reference
from tests.campaigns.stage import Length, Manner, Stage, Stop
from tests.campaigns.verdict import Evidence, Figures, judge


def stops_of(number: int, length: Length) -> list[Stop]:
    """Where schedule ``number`` is stopped: once or twice, anywhere."""
    random = Random(f"stops {number}")
    stops = []
    for _ in range(random.choice((1, 1, 2))):
        manner: Manner = random.choice(("killed", "killed", "cancelled"))
        stops.append(Stop(manner, random.randint(1, length.iterations if manner == "killed" else length.passings)))
    return stops


@dataclass(frozen=True)
class Played:
    """What came of one schedule. ``trace``: the schedule as the model sees it, request after request."""

    stops: int
    figures: Figures
    trace: list[Any]


class Schedules:
    """Plays schedules by number. The graph is made once, and run once unstopped to compare with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._graph = reference(threads=False)
        end = Stage(self._fresh("unstopped"), self._graph).drive(0)
        assert end is not None
        self.unstopped = end
        self.length = Length(**end["length"])

    def _fresh(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def play(self, number: int) -> Played:
        """Run a schedule, stop it where it says, drive on under other seeds; an ``AssertionError`` names it."""
        folder = self._fresh(str(number))
        try:
            stage = Stage(folder, self._graph)
            with stage.store:
                return self._played(stage, number, stops_of(number, self.length))
        except Exception as error:
            alone = f"python -m tests.campaigns.schedules {number}"
            raise AssertionError(f"Schedule {number} fails (alone: {alone}): {error}") from error
        finally:
            shutil.rmtree(folder)

    def _played(self, stage: Stage, number: int, stops: list[Stop]) -> Played:
        stopped = 0
        for turn, stop in enumerate(stops):
            stopped += stage.drive(10 * number + turn, stop) is None
            stage.left()
        end = stage.drive(10 * number + 9)
        assert end is not None
        seen, points = stage.witness, ["stopped"] * stopped
        books = stage.model.books
        evidence = Evidence(points, seen.read("left"), end, books, seen.read("started"), seen.read("effects"))
        return Played(stopped, judge(self.unstopped, evidence), stage.trace())


def main() -> None:
    """Play the schedules that are named on the command line."""
    with tempfile.TemporaryDirectory() as folder:
        schedules = Schedules(Path(folder))
        for number in map(int, sys.argv[1:]):
            print(number, stops_of(number, schedules.length), schedules.play(number))


if __name__ == "__main__":
    main()
