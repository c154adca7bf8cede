"""A plan in box-drawing characters, for terminals, logs and error messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from vertebra.graphs.pictures.arranging import arrange
from vertebra.graphs.pictures.canvas import Canvas
from vertebra.graphs.pictures.crossings import crossings
from vertebra.graphs.pictures.lettering import ACROSS, DOWN, LABEL, MARKS, PADDING, foot_of, lines_of
from vertebra.graphs.pictures.plans import Plan, Size
from vertebra.graphs.pictures.sketch import Box, Sketch
from vertebra.graphs.pictures.widths import cells, clean, fitted

_NOISE = 1e-6


class Cells:
    """The measure of a picture in characters."""

    gaps: ClassVar[Mapping[str, float]] = {
        "layer_gap": 4 * DOWN,
        "node_gap": 3 * ACROSS,
        "dummy_gap": 2 * ACROSS,
        "stub": 2 * DOWN,
        "bundle_lane_gap": DOWN,
        "self_loop_gap": 2 * DOWN,
        "edge_label_margin": ACROSS,
        "isolated_gap": 4 * ACROSS,
    }
    port = 2 * ACROSS
    corner = 2 * ACROSS
    stack = 2 * ACROSS
    stroke = (ACROSS, DOWN)
    loop = (3 * ACROSS, ACROSS)
    padding = PADDING

    def box(self, box: Box) -> Size:
        lines = lines_of(box)
        width = max(*(cells(line) for line in lines), cells(foot_of(box)) + 2) + 4
        if box.kind in ("start", "end"):
            return _odd(cells(box.name) + 2) * ACROSS, DOWN
        return (_odd(width) + (2 if box.stacked else 0)) * ACROSS, (len(lines) + 2) * DOWN

    def label(self, text: str) -> Size:
        return _odd(cells(fitted(clean(text), LABEL)[0]) + 2) * ACROSS, DOWN

    def at(self, value: float, axis: int) -> float:
        cell = self.stroke[axis]
        return (value + _NOISE) // cell * cell

    def faults(self, plan: Plan) -> int:
        return crossings(plan) + len(Canvas(plan).clashes)


def _odd(width: int) -> int:
    """An odd width has a middle cell, and edges that leave there meet."""
    return width + 1 - width % 2


CELLS = Cells()


def to_text(sketch: Sketch, width: int | None = None) -> str:
    """The picture in lines, or where it is wider than ``width`` cells, the graph as a list of its edges."""
    head = [clean(line) for line in (sketch.title, *sketch.caption) if line]
    plan = arrange(sketch, CELLS)
    drawn = Canvas(plan).lines()
    if width is not None and max(map(cells, drawn), default=0) > width:
        drawn = listed(sketch, width)
    return "\n".join([*head, *([""] if head else []), *drawn]) + "\n"


def listed(sketch: Sketch, width: int, indent: str = "") -> list[str]:
    """A line for each node, below it where it leads: what fits any width."""
    lines = []
    names = {box.id: clean(box.name) for box in sketch.boxes}
    for box in sketch.boxes:
        leaving = [line for line in sketch.lines if line.source == box.id]
        if box.kind == "end" or (box.kind == "start" and not leaving):
            continue
        mark = f"{MARKS[box.tone]} " if box.tone in MARKS else ""
        word = f" ({box.word})" if box.word else ""
        notes = f": {', '.join(map(clean, box.notes))}" if box.notes else ""
        lines.append(_cut(f"{indent}{mark}{clean(box.name)}{word}{notes}", width))
        for line in leaving:
            label = f"{clean(line.label)}: " if line.label else ""
            mark = f" {MARKS[line.tone]}" if line.tone in MARKS else ""
            lines.append(_cut(f"{indent}  → {label}{names.get(line.target, line.target)}{mark}", width))
        if box.inner is not None:
            lines.extend(listed(box.inner, width, indent + "    "))
    return lines


def _cut(line: str, width: int) -> str:
    return fitted(line, max(1, width))[0] if cells(line) > width else line


__all__ = ["CELLS", "listed", "to_text"]
