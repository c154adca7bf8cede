"""The ways across between two layers: each edge goes down to a track of its own, along it, and down again.

What comes from above must leave its column before what goes on below enters the same one, so its track lies higher.
Where that goes round in a circle (two edges that change places), one of them leaves by a third column. This is
channel routing as it is done on circuit boards; it has a way for any ends, as long as no two edges share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch along a track, from the column that it is reached by to the one that it is left by."""

    edge: int
    source: float
    target: float

    def touches(self, other: Run) -> bool:
        """Whether they would meet in one track, be it in a point."""
        low, high = sorted((self.source, self.target))
        start, end = sorted((other.source, other.target))
        return low <= end and start <= high


def tracks(ends: Mapping[int, tuple[float, float]], step: float) -> tuple[dict[int, list[tuple[Run, int]]], int]:
    """For each edge its runs with the numbers of their tracks from above; and how many tracks there are.

    ``ends``: the columns in which each edge comes and goes on, multiples of ``step``. One that stays has no run.
    """
    runs = {edge: Run(edge, *both) for edge, both in ends.items() if both[0] != both[1]}
    entered = {run.target: edge for edge, run in runs.items()}
    under = {edge: entered[run.source] for edge, run in runs.items() if run.source in entered}
    taken = {column for both in ends.values() for column in both}
    parts = [[run] for run in runs.values()]
    for edge in _one_of_each_circle(under):
        run = runs[edge]
        column = _free(run, taken, step)
        taken.add(column)
        parts[list(runs).index(edge)] = [Run(edge, run.source, column), Run(edge, column, run.target)]
    flat = [run for part in parts for run in part]
    above: dict[Run, set[Run]] = {run: set() for run in flat}
    first, last = {part[0].edge: part[0] for part in parts}, {part[0].edge: part[-1] for part in parts}
    for edge, other in under.items():
        above[last[other]].add(first[edge])
    for part in parts:
        if len(part) > 1:
            above[part[1]].add(part[0])
    placed: dict[Run, int] = {}
    while len(placed) < len(flat):
        ready = [run for run in flat if run not in placed and above[run] <= placed.keys()]
        run = min(ready, key=_outermost)
        placed[run] = 1 + max((track for other, track in placed.items() if other.touches(run)), default=-1)
    return {part[0].edge: [(run, placed[run]) for run in part] for part in parts}, 1 + max(placed.values(), default=-1)


def _outermost(run: Run) -> tuple[float, int]:
    """Of edges that lead the same way, that which leads farthest lies highest: then they do not cross."""
    return (-run.source if run.target > run.source else run.source), run.edge


def _one_of_each_circle(under: Mapping[int, int]) -> list[int]:
    """Each edge has at most one that must lie under it, so that circles have no branches."""
    found, seen = list[int](), set[int]()
    for edge in under:
        path = list[int]()
        while edge in under and edge not in seen:
            seen.add(edge)
            path.append(edge)
            edge = under[edge]
        if edge in path:
            found.append(edge)
    return found


def _free(run: Run, taken: set[float], step: float) -> float:
    """The column nearest to where the edge comes from that no edge comes or goes in, on its way if there is one."""
    way = 1 if run.target > run.source else -1
    far = 1
    while True:
        for side in (way, -way):
            column = run.source + side * far * step
            if column not in taken:
                return column
        far += 1


__all__ = ["Run", "tracks"]
