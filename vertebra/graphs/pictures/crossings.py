"""Whether a plan can be read: no edge through a box or a label, none on another, nothing over anything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertebra.graphs.pictures.plans import Plan, Point, Route

_Area = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def crossings(plan: Plan, apart: float = 0.0) -> int:
    """How often something runs through what it should lead past; 0 for a plan that is well.

    ``apart``: two edges closer than this, side by side, look like one, and one beside a box like its border.
    """
    boxes = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in plan.boxes]
    labels = [(x, y, x + w, y + h) for route in plan.routes if route.label is not None for x, y, w, h in [route.label]]
    found = sum(_meet(one, other) for one, other in _near([*boxes, *labels]))
    for route in plan.routes:
        own = route.label and (route.label[0], route.label[1])
        strokes = [_stroke(a, b, apart / 2) for a, b in pairwise(route.points) if a != b]
        low, high = min(s[1] for s in strokes), max(s[3] for s in strokes)
        for place in (*boxes, *labels):
            if place[1] < high and place[3] > low and place[:2] != own:
                found += any(_meet(stroke, place) for stroke in strokes)
        found += sum(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(route.points))
    return found + _shared(plan.routes, apart)


def _stroke(a: Point, b: Point, beside: float) -> _Area:
    """With what is beside it on either side, not beyond its ends."""
    across, down = (beside, 0.0) if a[0] == b[0] else (0.0, beside)
    return min(a[0], b[0]) - across, min(a[1], b[1]) - down, max(a[0], b[0]) + across, max(a[1], b[1]) + down


def _meet(a: _Area, b: _Area) -> bool:
    """Whether they share more than a border."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _near(places: Sequence[_Area]) -> Iterator[tuple[_Area, _Area]]:
    """Pairs that share a row."""
    ordered = sorted(places, key=lambda place: place[1])
    for index, one in enumerate(ordered):
        for other in ordered[index + 1 :]:
            if other[1] >= one[3]:
                break
            yield one, other


def _shared(routes: Iterable[Route], apart: float) -> int:
    """How many strokes run on another one or too close beside it."""
    down, across = list[tuple[float, float, float]](), list[tuple[float, float, float]]()
    for route in routes:
        for (ax, ay), (bx, by) in pairwise(_straight(route.points)):
            if ax == bx and ay != by:
                down.append((ax, min(ay, by), max(ay, by)))
            elif ay == by and ax != bx:
                across.append((ay, min(ax, bx), max(ax, bx)))
    found = 0
    for strokes in (down, across):
        strokes.sort()
        for index, (lane, start, end) in enumerate(strokes):
            for other, low, high in strokes[index + 1 :]:
                if other - lane >= apart and other != lane:
                    break
                found += low < end and start < high
    return found


def _straight(points: Sequence[Point]) -> list[Point]:
    """The bends alone: a line that stops on its way is one."""
    kept: list[Point] = []
    for point in points:
        if len(kept) > 1 and any(kept[-2][axis] == kept[-1][axis] == point[axis] for axis in (0, 1)):
            kept.pop()
        if not kept or kept[-1] != point:
            kept.append(point)
    return kept


__all__ = ["crossings"]
