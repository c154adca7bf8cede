"""A plan as SVG: one file, no script, nothing from the network, all text escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import ClassVar

from vertebra.graphs.pictures.crossings import crossings
from vertebra.graphs.pictures.palette import Theme, style
from vertebra.graphs.pictures.plans import Placed, Plan, Point, Route, Size
from vertebra.graphs.pictures.sketch import Box, Sketch
from vertebra.graphs.pictures.widths import clean, fitted, pixels

NAME, SMALL, TITLE = 13.0, 11.0, 12.0
LONGEST = 30
"""Cells of a name in one line; a name has at most two lines, and is whole in the tooltip."""
LABEL = 34
MARGIN = 20.0
STACK = 8.0
"""How far the last box of a fan-out stands out behind the first."""
APART = 5.0
"""Lines that are closer than this cannot be told from each other."""
CUT, POINT = 9.0, 12.0
"""How much is cut off the corners of an effect, and how far the sides of a question stand out."""
_ICON = 26.0
_LINE = 16.0
_PAD = 14.0


class Pixels:
    """The measure of a picture in pixels."""

    gaps: ClassVar[Mapping[str, float]] = {
        "layer_gap": 30.0,
        "node_gap": 30.0,
        "dummy_gap": 18.0,
        "stub": 12.0,
        "bundle_lane_gap": 10.0,
        "self_loop_gap": 14.0,
        "edge_label_margin": 8.0,
        "isolated_gap": 40.0,
    }
    port = 16.0
    corner = 22.0
    stack = STACK
    stroke = (0.0, 0.0)
    loop = (18.0, 3.0)
    padding = (18.0, 42.0, 18.0)

    def box(self, box: Box) -> Size:
        if box.kind in ("start", "end"):
            return pixels(box.name, SMALL, bold=True) + 28, 26.0
        names = fitted(clean(box.name), LONGEST, 2)
        small = [box.word, *box.notes]
        width = max(
            *(pixels(line, NAME, bold=True) for line in names),
            *(pixels(clean(line), SMALL) for line in small),
        )
        lines = len(names) + len([line for line in small if line])
        slant = 14.0 if box.kind == "human" else 0.0
        more = STACK if box.stacked else 0.0
        return max(96.0, round(width + _ICON + 2 * _PAD + slant)) + more, 18.0 + _LINE * lines + more

    def label(self, text: str) -> Size:
        return round(pixels(fitted(clean(text), LABEL)[0], SMALL)) + 10.0, 16.0

    def at(self, value: float, axis: int) -> float:
        return (value * 2 + 0.5) // 1 / 2

    def faults(self, plan: Plan) -> int:
        return crossings(plan, APART)


PIXELS = Pixels()


def to_svg(plan: Plan, theme: Theme = "auto") -> str:
    """The whole picture, on a ground of its own, so that it can be read wherever it is put."""
    head = _caption(plan.sketch)
    (width, height), above = size_of(plan), _above(plan)
    left = (width - plan.width) / 2
    texts = "".join(
        f'<text class="t{" tt n" if first else ""}" x="{_n(MARGIN)}" y="{_n(MARGIN + 12 + 18 * number)}">'
        f"{escape(text)}</text>"
        for number, (text, first) in enumerate(head)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="vb-{theme}" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'width="{_n(width)}" height="{_n(height)}" role="img" aria-label="{escape(described(plan.sketch))}">'
        f"<style>{style(theme)}</style>"
        f'<rect class="bg" x=".5" y=".5" width="{_n(width - 1)}" height="{_n(height - 1)}" rx="10"/>'
        f'{texts}<g transform="translate({_n(left)} {_n(above)})">{"".join(_drawn(plan, "h"))}</g></svg>\n'
    )


def size_of(plan: Plan) -> Size:
    """Width and height of the whole picture in pixels."""
    head = _caption(plan.sketch)
    wide = max((pixels(text, TITLE, bold=True) for text, _ in head), default=0.0)
    return max(plan.width, wide) + 2 * MARGIN, plan.height + _above(plan) + MARGIN


def _above(plan: Plan) -> float:
    head = _caption(plan.sketch)
    return MARGIN + (18.0 * len(head) + 8.0 if head else 0.0)


def described(sketch: Sketch) -> str:
    """What a screen reader says."""
    nodes = [clean(box.name) for box in sketch.boxes if box.kind not in ("start", "end")]
    few = ", ".join(nodes[:12]) + (f" and {len(nodes) - 12} more" if len(nodes) > 12 else "")
    return clean(f"Graph {sketch.title}: {few}")


def _caption(sketch: Sketch) -> list[tuple[str, bool]]:
    texts = [text for text in (sketch.title, *sketch.caption) if text]
    return [(clean(text), number == 0 and bool(sketch.title)) for number, text in enumerate(texts)]


def _drawn(plan: Plan, halo: str) -> Iterator[str]:
    """Faint lines first, then those that are marked; labels above lines, boxes above all."""
    routes = sorted(plan.routes, key=lambda route: route.line.tone not in ("", "faded"))
    boxes = {placed.box.id: placed for placed in plan.boxes}
    for route in routes:
        yield _route(route, boxes)
    for route in routes:
        yield _label(route, halo)
    for placed in plan.boxes:
        yield _box(placed)


def _route(route: Route, boxes: Mapping[str, Placed]) -> str:
    points = _straightened(route.points)
    points[0] = _on_outline(points[0], boxes[route.line.source])
    points[-1] = _on_outline(points[-1], boxes[route.line.target])
    tone = route.line.tone
    classes = " ".join(
        name
        for name in (
            "e",
            "d" if route.line.dashed else "",
            {"": "", "faded": "g"}.get(tone, f"{tone} w"),
        )
        if name
    )
    body = [*points[:-1], _short_of(points[-2], points[-1], 5.0)]
    arrow = "a" + ({"": "", "faded": " g"}.get(tone, f" {tone}"))
    return f'<path class="{classes}" d="{_rounded(body)}"/><path class="{arrow}" d="{_tip(points[-2], points[-1])}"/>'


def _on_outline(point: Point, placed: Placed) -> Point:
    """Where an edge that meets a box near its corner meets the outline, which is round or cut off there."""
    x, y = point
    box, top = placed.box, placed.y
    more = STACK if box.stacked else 0.0
    bottom = placed.y + placed.height - more
    if y not in (top, placed.y + placed.height):
        return point
    near = max(0.0, min(x - placed.x, placed.x + placed.width - more - x))
    radius = _radius(box, bottom - top)
    if box.kind == "effect":
        deep = max(0.0, CUT - near)
    elif box.kind == "human":
        deep = max(0.0, POINT - near) / POINT * (bottom - top) / 2
    else:
        deep = radius - (radius**2 - (radius - near) ** 2) ** 0.5 if near < radius else 0.0
    return (x, y + deep) if y == top else (x, bottom - deep)


def _radius(box: Box, height: float) -> float:
    if box.kind in ("start", "end"):
        return height / 2
    return {"llm": min(18.0, height / 2), "transition": 4.0, "plain": 4.0}.get(box.kind, 9.0)


def _straightened(points: Sequence[Point]) -> list[Point]:
    """Without points that are twice there, or between two in one line."""
    kept: list[Point] = []
    for point in points:
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and _in_line(kept[-2], kept[-1], point):
            kept[-1] = point
        else:
            kept.append(point)
    return kept


def _in_line(a: Point, b: Point, c: Point) -> bool:
    return (a[0] == b[0] == c[0]) or (a[1] == b[1] == c[1])


def _short_of(start: Point, end: Point, by: float) -> Point:
    (ax, ay), (bx, by_) = start, end
    if ax == bx:
        return bx, by_ - by if by_ > ay else by_ + by
    return (bx - by if bx > ax else bx + by), by_


def _rounded(points: Sequence[Point], radius: float = 7.0) -> str:
    """A path whose corners are round."""
    parts = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for (ax, ay), (bx, by), (cx, cy) in zip(points, points[1:], points[2:], strict=False):
        before, after = abs(ax - bx) + abs(ay - by), abs(cx - bx) + abs(cy - by)
        r = min(radius, before / 2, after / 2)
        px, py = bx + r * _sign(ax - bx), by + r * _sign(ay - by)
        qx, qy = bx + r * _sign(cx - bx), by + r * _sign(cy - by)
        parts.append(f"L{_n(px)} {_n(py)}Q{_n(bx)} {_n(by)} {_n(qx)} {_n(qy)}")
    parts.append(f"L{_n(points[-1][0])} {_n(points[-1][1])}")
    return "".join(parts)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _tip(start: Point, end: Point, long: float = 8.0, wide: float = 4.0) -> str:
    (ax, ay), (bx, by) = start, end
    dx, dy = _sign(bx - ax), _sign(by - ay)
    if dx:
        dy = 0
    x, y = bx - dx * long, by - dy * long
    return f"M{_n(bx)} {_n(by)}L{_n(x + dy * wide)} {_n(y + dx * wide)}L{_n(x - dy * wide)} {_n(y - dx * wide)}Z"


def _label(route: Route, halo: str) -> str:
    if route.label is None:
        return ""
    x, y, width, height = route.label
    text = fitted(clean(route.line.label), LABEL)[0]
    tone = {"": "", "faded": " g"}.get(route.line.tone, f" {route.line.tone}")
    tip = "" if text == route.line.label else f"<title>{escape(clean(route.line.label))}</title>"
    return (
        f'<g>{tip}<rect class="{halo}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="4"/>'
        f'<text class="l{tone}" x="{_n(x + width / 2)}" y="{_n(y + height - 4.5)}" text-anchor="middle">'
        f"{escape(text)}</text></g>"
    )


def _box(placed: Placed) -> str:
    box = placed.box
    tone = {"": "", "faded": " g", "taken": ""}.get(box.tone, f" {box.tone}")
    if box.kind in ("start", "end"):
        return (
            f'<g class="{tone.strip()}"><rect class="start" x="{_n(placed.x)}" y="{_n(placed.y)}" '
            f'width="{_n(placed.width)}" height="{_n(placed.height)}" rx="{_n(placed.height / 2)}"/>'
            f'<text class="s sn n" x="{_n(placed.x + placed.width / 2)}" y="{_n(placed.y + 17)}" '
            f'text-anchor="middle">{box.name}</text></g>'
        )
    parts = []
    if box.stacked:  # the room that was asked for holds the whole stack
        placed = replace(placed, width=placed.width - STACK, height=placed.height - STACK)
        parts += [_frame(box, placed, STACK), _frame(box, placed, STACK / 2)]
    parts.append(_frame(box, placed, 0.0))
    if placed.inner is not None:
        parts.append(_opened(placed))
    parts.append(_writing(placed))
    return f'<g class="{box.kind}{tone}"><title>{escape(_tooltip(box))}</title>{"".join(parts)}</g>'


def _tooltip(box: Box) -> str:
    return "\n".join(clean(line) for line in (box.name, box.word, *box.notes) if line)


def _frame(box: Box, placed: Placed, shift: float) -> str:
    """The outline, whose form tells the kind as its colour does."""
    x, y, w, h = placed.x + shift, placed.y + shift, placed.width, placed.height
    strong = " w" if box.tone in ("running", "waiting", "bad", "refuted", "added", "removed", "changed") else ""
    dashed = " d" if box.tone == "removed" or box.kind == "plain" else ""
    kind = f"b{strong}{dashed}"
    if box.kind == "effect":
        c = CUT
        d = f"M{_n(x + c)} {_n(y)}h{_n(w - 2 * c)}l{_n(c)} {_n(c)}v{_n(h - 2 * c)}l{_n(-c)} {_n(c)}"
        return f'<path class="{kind}" d="{d}h{_n(2 * c - w)}l{_n(-c)} {_n(-c)}v{_n(2 * c - h)}Z"/>'
    if box.kind == "human":
        c = POINT
        d = f"M{_n(x + c)} {_n(y)}h{_n(w - 2 * c)}l{_n(c)} {_n(h / 2)}l{_n(-c)} {_n(h / 2)}h{_n(2 * c - w)}"
        return f'<path class="{kind}" d="{d}l{_n(-c)} {_n(-h / 2)}Z"/>'
    radius = _radius(box, h)
    rect = f'<rect class="{kind}" x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="{_n(radius)}"/>'
    if box.kind == "subgraph" and placed.inner is None:
        rect += f'<rect class="i" x="{_n(x + 4)}" y="{_n(y + 4)}" width="{_n(w - 8)}" height="{_n(h - 8)}" rx="6"/>'
    return rect


def _opened(placed: Placed) -> str:
    assert placed.inner is not None
    _, above, _ = PIXELS.padding
    inner = placed.inner
    x, y = placed.x + 8, placed.y + above - 8
    w, h = placed.width - 16, placed.height - above
    left = placed.x + (placed.width - inner.width) / 2
    return (
        f'<rect class="in" x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="6"/>'
        f'<g transform="translate({_n(left)} {_n(placed.y + above)})">{"".join(_drawn(inner, "hi"))}</g>'
    )


def _writing(placed: Placed) -> str:
    box = placed.box
    names = fitted(clean(box.name), LONGEST, 2)
    small = [clean(line) for line in (box.word, *box.notes) if line]
    slant = 7.0 if box.kind == "human" else 0.0
    if placed.inner is not None:
        x, y = placed.x + 14, placed.y + 9
        name = names[0] if len(names) == 1 else fitted(clean(box.name), LONGEST)[0]
        after = _n(x + 24 + pixels(name, NAME, bold=True) + 8)
        notes = " · ".join(small)
        return (
            f"{_icon(box, x, y)}"
            f'<text class="n" x="{_n(x + 24)}" y="{_n(y + 13)}">{escape(name)}</text>'
            f'<text class="s" x="{after}" y="{_n(y + 13)}">{escape(notes)}</text>'
        )
    widest = max([pixels(n, NAME, bold=True) for n in names] + [pixels(line, SMALL) for line in small] or [0.0])
    block = widest + _ICON
    x = max(placed.x + _PAD + slant - 2, placed.x + (placed.width - block) / 2)
    text = x + _ICON
    lines = len(names) + len(small)
    y = placed.y + (placed.height - _LINE * lines) / 2
    parts = [_icon(box, x, placed.y + placed.height / 2 - 8 if lines <= 2 else y + 1)]
    for number, line in enumerate(names):
        parts.append(f'<text class="n" x="{_n(text)}" y="{_n(y + 12.5 + _LINE * number)}">{escape(line)}</text>')
    for number, line in enumerate(small, len(names)):
        marked = " m" if number > len(names) and box.tone in ("bad", "waiting", "running") else ""
        parts.append(f'<text class="s{marked}" x="{_n(text)}" y="{_n(y + 12 + _LINE * number)}">{escape(line)}</text>')
    return "".join(parts)


_ICONS: Mapping[str, str] = {
    "transition": "M5.5 3C3 3 5 8 2 8c3 0 1 5 3.5 5M10.5 3C13 3 11 8 14 8c-3 0-1 5-3.5 5",
    "llm": "M7 2c.7 4.300 1.700 5.300 6 6-4.300.7-5.300 1.700-6 6-.7-4.300-1.700-5.300-6-6 4.300-.7 5.300-1.700 6-6z"
    "M13.500 1.500v3M12 3h3",
    "effect": "M9 1.500 3 9h4.500L6.500 14.500 13 7H8.500z",
    "human": "M8 7.500a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2 14.500c.5-3.500 3-5 6-5s5.500 1.500 6 5",
    "subgraph": "M2 2h5v5H2zM9 9h5v5H9zM4.500 7v4.500H9",
    "plain": "M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11z",
}


def _icon(box: Box, x: float, y: float) -> str:
    return f'<path class="i" transform="translate({_n(x)} {_n(y)})" d="{_ICONS[box.kind]}"/>'


def _n(value: float) -> str:
    """A number as short as it can be: at most one decimal place."""
    text = f"{value:.1f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text


__all__ = ["PIXELS", "size_of", "to_svg"]
