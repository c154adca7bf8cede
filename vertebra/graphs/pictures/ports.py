"""Where along its box each edge begins and ends: as near to where it leads as the others leave room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COLUMN = 8.0
"""From one column that an edge may be in to the next."""


@dataclass(frozen=True, slots=True)
class Across:
    """What something takes of its layer: from its left to its right, and the columns that its edges may be in."""

    left: float
    right: float
    first: float
    last: float

    @property
    def middle(self) -> float:
        return _nearest((self.first + self.last) / 2)


def beside(after: float, middle: float, width: float, first: float, last: float) -> Across:
    """The place of something as near to a middle as can be, where nothing is left of ``after``.

    ``first`` and ``last``: how far from its left and its right its edges keep. Its left is such that they are columns.
    """
    near = _nearest(middle - width / 2 + first)
    column = max(near, -(-(after + first) // COLUMN) * COLUMN)
    return Across(column - first, column - first + width, column, column - first + width - last)


def _nearest(x: float) -> float:
    return (x / COLUMN + 0.5) // 1 * COLUMN


def ports(box: Across, wanted: Mapping[int, float], straight: int | None, apart: float) -> dict[int, float]:
    """The column of each edge by its number, from the one that it would like to be in.

    ``straight``: the edge that comes first, the others make room for it. ``apart``: from one edge to the next.
    """
    edges = sorted(wanted, key=lambda edge: (wanted[edge], edge))
    last = len(edges) - 1
    keep = last // 2 if straight is None else edges.index(straight)

    def within(index: int, column: float) -> float:
        return min(max(column, box.first + index * apart), box.last - (last - index) * apart)

    found = {edges[keep]: within(keep, wanted[edges[keep]])}
    for index in range(keep - 1, -1, -1):
        column = min(wanted[edges[index]], found[edges[index + 1]] - apart)
        found[edges[index]] = within(index, column)
    for index in range(keep + 1, last + 1):
        column = max(wanted[edges[index]], found[edges[index - 1]] + apart)
        found[edges[index]] = within(index, column)
    return found


__all__ = ["COLUMN", "Across", "beside", "ports"]
