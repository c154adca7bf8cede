"""A picture's plan: the place of everything in a sketch, and the measure in which it is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from vertebra.graphs.pictures.sketch import Box, Line, Sketch

Point = tuple[float, float]
Size = tuple[float, float]
Rectangle = tuple[float, float, float, float]
"""Left, top, width, height."""
LOOP, BESIDE = 36.0, 48.0
"""How tall a loop at one box is, and from one to the next."""


class Measure(Protocol):
    """The units of a kind of picture: how large boxes and labels are in it, and how much room is between."""

    gaps: ClassVar[Mapping[str, float]]
    port: float
    """From one edge to the next along a box."""
    corner: float
    """No edge begins or ends closer than this to the corner of a box."""
    stack: float
    """How far the boxes of a fan-out stand out behind the first; within its size."""
    stroke: Size
    """How much a line itself takes, from its coordinate on."""
    loop: tuple[float, float]
    """How far a loop at one box stands out, and from there to its label."""
    padding: tuple[float, float, float]
    """Around a graph within a box: at its sides, above and below."""

    def box(self, box: Box) -> Size: ...

    def label(self, text: str) -> Size: ...

    def at(self, value: float, axis: int) -> float:
        """A coordinate as it is drawn, across (0) or down (1): what is moved by a whole step stays what it was."""

    def faults(self, plan: Plan) -> int:
        """How much of a plan cannot be read as it is drawn; 0 where all is well."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A box with its place: left, top, width, height."""

    box: Box
    x: float
    y: float
    width: float
    height: float
    inner: Plan | None = None
    """Within, from the box's own left and top."""


@dataclass(frozen=True, slots=True)
class Route:
    """An edge with its bends, from source to target, and the place of its label: left, top, width, height."""

    line: Line
    points: tuple[Point, ...]
    label: Rectangle | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A sketch with a place for everything; from 0, 0."""

    sketch: Sketch
    width: float
    height: float
    boxes: tuple[Placed, ...]
    routes: tuple[Route, ...]


def trimmed(sketch: Sketch, boxes: tuple[Placed, ...], routes: Sequence[Route]) -> Plan:
    """The plan with its own size: what is in it, lines and labels too."""
    xs = [x for box in boxes for x in (box.x, box.x + box.width)]
    ys = [y for box in boxes for y in (box.y, box.y + box.height)]
    for route in routes:
        xs += [x for x, _ in route.points]
        ys += [y for _, y in route.points]
        if route.label is not None:
            xs += [route.label[0], route.label[0] + route.label[2]]
            ys += [route.label[1], route.label[1] + route.label[3]]
    left, top = min(xs), min(ys)
    moved = tuple(Placed(b.box, b.x - left, b.y - top, b.width, b.height, b.inner) for b in boxes)
    led = tuple(
        Route(
            r.line,
            tuple((x - left, y - top) for x, y in r.points),
            None if r.label is None else (r.label[0] - left, r.label[1] - top, *r.label[2:]),
        )
        for r in routes
    )
    return Plan(sketch, max(xs) - left, max(ys) - top, moved, led)


__all__ = ["Measure", "Placed", "Plan", "Point", "Route", "Size", "trimmed"]
