"""What is wrong with a plan: edges through boxes, things that overlap, edges that run on each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

from vertebra.graphs.pictures.plans import Placed, Plan, Route

Rectangle = tuple[float, float, float, float]


def faults(plan: Plan) -> list[str]:
    """Every fault of a plan and of those within it; none for a good one."""
    return list(_faults(plan))


def _faults(plan: Plan) -> Iterator[str]:
    boxes = [(placed.box.id, _rectangle(placed)) for placed in plan.boxes]
    labels = [(f"label {r.line.label!r}", r.label) for r in plan.routes if r.label is not None]
    for (a, one), (b, other) in combinations([*boxes, *labels], 2):
        if _overlap(one, other):
            yield f"{a} and {b} overlap"
    for _, (x, y, w, h) in [*boxes, *labels]:
        if x < 0 or y < 0 or x + w > plan.width or y + h > plan.height:
            yield f"{(x, y, w, h)} is outside"
    for route in plan.routes:
        name = " -> ".join(route.line.ends)
        for (ax, ay), (bx, by) in pairwise(route.points):
            if ax != bx and ay != by:
                yield f"{name} is slanted"
        for box, place in boxes:
            if any(_through(a, b, place) for a, b in pairwise(route.points)):
                yield f"{name} crosses {box}"
        for label, place in labels:
            if place is not route.label and any(_through(a, b, place) for a, b in pairwise(route.points)):
                yield f"{name} crosses {label}"
        for end, point in ((route.line.source, route.points[0]), (route.line.target, route.points[-1])):
            if not _on_border(point, dict(boxes)[end]):
                yield f"{name} does not meet {end}"
    for one_route, other_route in combinations(plan.routes, 2):
        if _along(one_route, other_route):
            yield f"{one_route.line.ends} runs on {other_route.line.ends}"
    for placed in plan.boxes:
        if placed.inner is not None:
            yield from _faults(placed.inner)


def _rectangle(placed: Placed) -> Rectangle:
    return placed.x, placed.y, placed.width, placed.height


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _through(a: tuple[float, float], b: tuple[float, float], box: Rectangle) -> bool:
    """Whether a segment enters the inside of a box; to touch its border is to meet it."""
    left, right = sorted((a[0], b[0]))
    top, bottom = sorted((a[1], b[1]))
    x, y, w, h = box
    return left < x + w and right > x and top < y + h and bottom > y


def _on_border(point: tuple[float, float], box: Rectangle) -> bool:
    (px, py), (x, y, w, h) = point, box
    return x <= px <= x + w and y <= py <= y + h and (px in (x, x + w) or py in (y, y + h))


def _along(one: Route, other: Route) -> bool:
    """Whether two routes share more than a point."""
    for a, b in pairwise(one.points):
        for c, d in pairwise(other.points):
            if a[0] == b[0] == c[0] == d[0]:
                low, high = max(min(a[1], b[1]), min(c[1], d[1])), min(max(a[1], b[1]), max(c[1], d[1]))
            elif a[1] == b[1] == c[1] == d[1]:
                low, high = max(min(a[0], b[0]), min(c[0], d[0])), min(max(a[0], b[0]), max(c[0], d[0]))
            else:
                continue
            if low < high:
                return True
    return False
