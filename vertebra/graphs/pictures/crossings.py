"""Whether a plan can be read: no edge through a box or a label, none on another, nothing over anything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertebra.graphs.pictures.plans import Plan, Point, Route

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def crossings(plan: Plan) -> int:
    """How often something runs through what it should lead past; 0 for a plan that is well."""
    boxes = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in plan.boxes]
    labels = [(x, y, x + w, y + h) for route in plan.routes if route.label is not None for x, y, w, h in [route.label]]
    found = sum(_meet(one, other) for one, other in _near([*boxes, *labels]))
    for route in plan.routes:
        own = route.label and (route.label[0], route.label[1])
        strokes = [_stroke(a, b) for a, b in pairwise(route.points)]
        low, high = min(s[1] for s in strokes), max(s[3] for s in strokes)
        for place in (*boxes, *labels):
            if place[1] < high and place[3] > low and place[:2] != own:
                found += any(_meet(stroke, place) for stroke in strokes)
        found += sum(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(route.points))
    return found + _shared(plan.routes)


def _stroke(a: Point, b: Point) -> Rectangle:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])


def _meet(a: Rectangle, b: Rectangle) -> bool:
    """Whether they share more than a border."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _near(places: Sequence[Rectangle]) -> Iterator[tuple[Rectangle, Rectangle]]:
    """Pairs that share a row."""
    ordered = sorted(places, key=lambda place: place[1])
    for index, one in enumerate(ordered):
        for other in ordered[index + 1 :]:
            if other[1] >= one[3]:
                break
            yield one, other


def _shared(routes: Iterable[Route]) -> int:
    """How many strokes run on another one, by the row or column that they are in."""
    lanes: dict[tuple[bool, float], list[tuple[float, float]]] = {}
    for route in routes:
        for (ax, ay), (bx, by) in pairwise(route.points):
            if ax == bx and ay != by:
                lanes.setdefault((True, ax), []).append((min(ay, by), max(ay, by)))
            elif ay == by and ax != bx:
                lanes.setdefault((False, ay), []).append((min(ax, bx), max(ax, bx)))
    return sum(a[1] > b[0] for spans in lanes.values() for a, b in pairwise(sorted(spans)))


__all__ = ["crossings"]
