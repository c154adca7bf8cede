"""A plan on a grid of characters: lines that join where they meet, boxes and writing above them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from vertebra.graphs.pictures.lettering import ACROSS, DOWN, LABEL, MARKS, PADDING, foot_of, lines_of
from vertebra.graphs.pictures.plans import Placed, Plan, Route
from vertebra.graphs.pictures.widths import cells, clean, fitted, is_right_to_left

_UP, _RIGHT, _BELOW, _LEFT = 1, 2, 4, 8
_STROKES = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"
_DASHES = {"│": "┆", "─": "┄"}
_HEAVY = dict(zip(_STROKES, " ╹╺┗╻┃┏┣╸┛━┻┓┫┳╋", strict=True))
_FRAMES: Mapping[str, str] = {
    "llm": "╭─╮│╰╯",
    "transition": "┌─┐│└┘",
    "plain": "┌─┐│└┘",
    "effect": "┏━┓┃┗┛",
    "human": "╔═╗║╚╝",
    "subgraph": "╒═╕│╘╛",
}
_UPRIGHT = " │┆┃║"
_HEAVIER = ("taken", "bad", "refuted", "added")


class Canvas:
    """Characters by place; what is written later lies on top, but strokes that meet are joined."""

    def __init__(self, plan: Plan) -> None:
        self.width = int(plan.width // ACROSS) + 2
        self.height = int(plan.height // DOWN) + 2
        self.strokes: dict[tuple[int, int], int] = {}
        self.kinds: dict[tuple[int, int], str] = {}
        self.texts: dict[tuple[int, int], str] = {}
        self.ways: dict[tuple[int, int], dict[int, str]] = {}
        """By cell, how each route (by its identity) passes it."""
        self.clashes: list[tuple[int, int]] = []
        """Where lines meet otherwise than by crossing, or run under what they do not belong to."""
        self._draw(plan, 0, 0)

    def lines(self) -> list[str]:
        rows: list[str] = []
        bottom = max((y for _, y in [*self.strokes, *self.texts]), default=-1)
        right = max((x for x, _ in [*self.strokes, *self.texts]), default=-1)
        for y in range(bottom + 1):
            row = "".join(self._cell(x, y) for x in range(right + 1)).rstrip()
            if rows and row == rows[-1] and not row.strip(_UPRIGHT):
                continue  # nothing happens in this row that does not in the one above
            # An invisible mark keeps what follows a text from right to left where it is drawn.
            rows.append(f"\u200e{row}" if is_right_to_left(row) else row)
        return rows

    def _cell(self, x: int, y: int) -> str:
        if (x, y) in self.texts:
            return self.texts[x, y]
        stroke = _STROKES[self.strokes.get((x, y), 0)]
        kind = self.kinds.get((x, y), "")
        return _HEAVY[stroke] if kind == "heavy" else _DASHES.get(stroke, stroke) if kind == "dashed" else stroke

    def _draw(self, plan: Plan, dx: float, dy: float) -> None:
        for route in plan.routes:
            label = None if route.label is None else _cell_of(0.0, route.label[1] + dy)[1]
            self._route(route, [_cell_of(x + dx, y + dy) for x, y in route.points], label)
        for route in plan.routes:
            if route.label is not None:
                x, y = _cell_of(route.label[0] + dx, route.label[1] + dy)
                self._cover(x, y, int(route.label[2] // ACROSS), 1, route)
                mark = MARKS.get(route.line.tone, "") if route.line.tone not in ("taken", "refuted", "") else ""
                text = fitted(f"{mark}{clean(route.line.label)}", LABEL)[0]
                room = int(route.label[2] // ACROSS)
                self._write(x + (room - cells(text)) // 2, y, text)
        for placed in plan.boxes:
            self._box(placed, dx, dy)

    def _route(self, route: Route, points: Sequence[tuple[int, int]], label: int | None) -> None:
        """From the row after a box's last to the row before the next box's first, where the tip is.

        In the row of its label the edge is not seen, and may change its column.
        """
        tone = route.line.tone
        kind = "dashed" if route.line.dashed or tone == "removed" else "heavy" if tone in _HEAVIER else ""
        first, last = points[0], points[-1]
        going_down, beside = first[1] <= last[1], first[1] == points[1][1] and first[0] == last[0]
        if not beside:  # above or below its boxes, not in their borders
            points = [(first[0], first[1] - (not going_down)), *points[1:-1], (last[0], last[1] - going_down)]
        path = _path(points)
        for cell, way in _ways(path):
            ways = self.ways.setdefault(cell, {})
            ways[id(route)] = way
            if len(ways) > 1 and sorted(ways.values()) != ["across", "down"]:
                self.clashes.append(cell)
        for a, b in pairwise(path):
            if label is None or a[1] != label or b[1] != label:
                self._stroke(a, b, kind)
        end = _LEFT if beside else _UP if going_down else _BELOW
        self.strokes[path[0]] = self.strokes.get(path[0], 0) | end
        bx, by = path[-1]
        ax = path[-2][0] if len(path) > 1 else bx
        if ax == bx:
            self.texts[bx, by] = "▼" if going_down else "▲"
        else:
            self.texts[bx, by] = "▶" if bx > ax else "◀"

    def _stroke(self, a: tuple[int, int], b: tuple[int, int], kind: str) -> None:
        (ax, ay), (bx, by) = a, b
        there, back = {
            (0, 1): (_BELOW, _UP),
            (0, -1): (_UP, _BELOW),
            (1, 0): (_RIGHT, _LEFT),
            (-1, 0): (_LEFT, _RIGHT),
        }[bx - ax, by - ay]
        for place, bit in ((a, there), (b, back)):
            self.strokes[place] = self.strokes.get(place, 0) | bit
            if kind:
                self.kinds[place] = kind

    def _box(self, placed: Placed, dx: float, dy: float) -> None:
        box = placed.box
        x, y = _cell_of(placed.x + dx, placed.y + dy)
        w, h = int(placed.width // ACROSS), int(placed.height // DOWN)
        self._cover(x, y, w, h)
        if box.kind in ("start", "end"):
            self._write(x, y, box.name.center(w))
            return
        a, across, b, down, c, d = tuple(_FRAMES[box.kind])
        if box.stacked:
            w -= 2
        edge = "║" if box.stacked and down == "│" else down
        self._write(x, y, a + across * (w - 2) + b)
        foot = foot_of(box)
        under = f" {foot} " if foot else ""
        room = w - 2 - cells(under)
        self._write(x, y + h - 1, c + across * (room // 2) + under + across * (room - room // 2) + d)
        lines = lines_of(box)
        for row in range(1, h - 1):
            text = lines[row - 1] if row <= len(lines) else ""
            if placed.inner is None:
                # Names that share a box of several lines stand in its middle.
                space = w - 2 - cells(text)
                text = " " * (space // 2) + text + " " * (space - space // 2)
                self._write(x, y + row, down + text + down)
            else:
                self._write(x, y + row, f"{down} {text}" if text else down)
                self._write(x + w - 1, y + row, down)
        if box.stacked:
            for row in range(1, h):
                self._write(x + w, y + row, edge if down != "│" else "┆")
        if placed.inner is not None:
            inside = placed.x + (placed.width - placed.inner.width) / 2
            self._draw(placed.inner, inside + dx, placed.y + dy + PADDING[1])

    def _cover(self, x: int, y: int, width: int, height: int, own: Route | None = None) -> None:
        """Note the lines under a box, or under a label that is not their own."""
        area = [(left, top) for top in range(y, y + height) for left in range(x, x + width)]
        self.clashes.extend(cell for cell in area if self.ways.get(cell, {}).keys() - {id(own)})

    def _write(self, x: int, y: int, text: str) -> None:
        for char, width in _clusters(text):
            self.texts[x, y] = f"\u200e{char}\u200e" if is_right_to_left(char) else char
            for more in range(1, width):
                self.texts[x + more, y] = ""
            x += max(width, 1)


def _clusters(text: str) -> list[tuple[str, int]]:
    """Characters with what sits on them; a phrase from right to left is one piece: its words have their own order."""
    found: list[tuple[str, int]] = []
    while text:
        end = _phrase(text) or 1
        while end < len(text) and cells(text[end]) == 0:
            end += 1
        found.append((text[:end], cells(text[:end])))
        text = text[end:]
    return found


def _phrase(text: str) -> int:
    """How many characters from the first on are from right to left, with spaces and the like between such."""
    end = 0
    for index, char in enumerate(text):
        if is_right_to_left(char):
            end = index + 1
        elif index == 0 or unicodedata.bidirectional(char) == "L":
            break
    return end


def _cell_of(x: float, y: float) -> tuple[int, int]:
    return int(x // ACROSS), int(y // DOWN)


def _ways(path: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], str]]:
    """Each cell on the way, and whether it is passed across or down; where it bends or ends, neither."""
    around = [path[0], *path, path[-1]]
    for before, cell, after in zip(around, path, around[2:], strict=False):
        straight = before != cell != after
        across, down = before[1] == after[1], before[0] == after[0]
        yield cell, "across" if straight and across else "down" if straight and down else ""


def _path(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every cell on the way; a rounding that bent a straight line is undone by going across first."""
    path = [points[0]]
    for x, y in points[1:]:
        while path[-1] != (x, y):
            px, py = path[-1]
            if px != x:
                path.append((px + (1 if x > px else -1), py))
            else:
                path.append((px, py + (1 if y > py else -1)))
    return path


__all__ = ["Canvas"]
