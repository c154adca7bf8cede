"""What a picture in characters says of a box, and how large a cell is."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.graphs.pictures.sketch import Box
from vertebra.graphs.pictures.widths import clean, fitted

LONGEST = 28
LABEL = 22
ACROSS, DOWN = 8.0, 16.0
"""The layout is done in pixels, a cell being so wide and so high."""
PADDING = 2 * ACROSS, 2 * DOWN, 2 * DOWN
"""Around a graph within a box: at its sides, above and below."""

MARKS: Mapping[str, str] = {
    "bad": "✗",
    "refuted": "●",
    "waiting": "?",
    "running": "▸",
    "added": "+",
    "removed": "-",
    "changed": "~",
    "taken": "✓",
}


def lines_of(box: Box) -> list[str]:
    name = fitted(clean(box.name), LONGEST, 2)
    mark = f"{MARKS[box.tone]} " if box.tone in MARKS else ""
    return [f"{mark}{name[0]}", *name[1:], *(fitted(clean(note), LONGEST)[0] for note in box.notes)]


def foot_of(box: Box) -> str:
    return fitted(clean(box.word), LONGEST)[0] if box.word else ""


__all__ = ["ACROSS", "DOWN", "LABEL", "MARKS", "PADDING", "foot_of", "lines_of"]
