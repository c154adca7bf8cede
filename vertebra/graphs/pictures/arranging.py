"""Where everything goes: the spine straight down, loops reversed and led past it, labels as places of their own.

A label is laid out as if it were a node in the middle of its edge, so that it can overlap nothing. A graph within
a node is laid out first, and its node made as large. The layout itself is graphlay's: layered, with orthogonal edges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vertebra.graphs.pictures.leading import from_start, loops, spine_of
from vertebra.graphs.pictures.plans import Measure, Placed, Plan, Point, Route, Size, trimmed
from vertebra.graphs.pictures.sketch import Box, Sketch

_STRAIGHT = 1.0
"""Graphlay moves a bend by less than a pixel here and there, and leaves the next where it was."""


def arrange(sketch: Sketch, measure: Measure) -> Plan:
    """Give everything its place. The same sketch gives the same plan, in every process."""
    import graphlay

    inner = {box.id: arrange(box.inner, measure) for box in sketch.boxes if box.inner is not None}
    order = from_start(sketch)
    back = loops(sketch, order)
    spine = spine_of(sketch, order, back)
    graph: Any = graphlay.Graph()
    boxes = {box.id: box for box in sketch.boxes}
    ends = _ends(sketch, back)
    sizes = {name: _size(boxes[name], ends.get(name, 1), inner.get(name), measure) for name in order}
    for name in order:
        graph.node(name, width=sizes[name][0], height=sizes[name][1])
    for number, line in enumerate(sketch.lines):
        source, target = line.ends[::-1] if number in back else line.ends
        weight = 12.0 if line.ends in spine else 1.0
        if line.label and source != target:
            width, height = measure.label(line.label)
            graph.node(("label", number), width=width, height=height)
            graph.edge(source, ("label", number), weight=weight)
            graph.edge(("label", number), target, weight=weight)
        else:
            label = {"label_size": list(measure.label(line.label))} if line.label else {}
            graph.edge(source, target, weight=weight, **label)
    plans = []
    for trial in _TRIALS:
        laid = graphlay.layout(graph, options=_options(measure, **trial))
        plans.append(_plan(sketch, measure, laid, order, back, inner))
        if not measure.faults(plans[-1]):
            return plans[-1]
    return min(plans, key=measure.faults)


_TRIALS: tuple[dict[str, Any], ...] = (
    {},
    {"seed": 1},
    {"coords": {"placement": "brandes_koepf"}},
    {"effort": "balanced"},
    {"effort": "fast"},
    {"room": 1.5},
    {"room": 1.5, "seed": 1},
    {"room": 2.0},
)
"""One layout in a hundred has an edge that runs through a box; of the same graph in another way, hardly any."""


def _options(measure: Measure, room: float = 1.0, **trial: Any) -> dict[str, Any]:
    across = {name: measure.gaps[name] * room for name in ("node_gap", "dummy_gap")}
    return {
        "direction": "topbottom",
        "spacing": {**measure.gaps, **across, "port_gap": measure.port, "port_stroke_clear": measure.port},
        "routing": {
            "port_sides": "facing_only",
            "bundle_parallel": False,
            "lane_gap": measure.gaps["bundle_lane_gap"],
        },
        "self_loops": {"side": "cross_positive", "size": measure.loop[0], "label_gap": measure.loop[1]},
        "effort": "thorough",
        **trial,
    }


def _ends(sketch: Sketch, back: set[int]) -> dict[str, int]:
    """How many edges meet at the side of each box that has more of them."""
    above: dict[str, int] = {}
    below: dict[str, int] = {}
    for number, line in enumerate(sketch.lines):
        source, target = line.ends[::-1] if number in back else line.ends
        below[source] = below.get(source, 0) + 1
        above[target] = above.get(target, 0) + 1
    return {name: max(above.get(name, 0), below.get(name, 0)) for name in {**above, **below}}


def _size(box: Box, ends: int, inner: Plan | None, measure: Measure) -> Size:
    """As large as what is in it, and wide enough for its edges."""
    width, height = measure.box(box)
    if inner is not None:
        side, above, below = measure.padding
        width = max(width, inner.width + 2 * side)
        height = inner.height + above + below
    return max(width, (ends - 1) * measure.port + 2 * measure.corner), height


def _plan(
    sketch: Sketch, measure: Measure, laid: Any, order: Sequence[str], back: set[int], inner: Mapping[str, Plan]
) -> Plan:
    at = measure.at
    left, top = _corner(laid)
    boxes = {box.id: box for box in sketch.boxes}
    places = [_rectangle(node, left, top, at) for node in laid.nodes]
    placed = tuple(Placed(boxes[name], *places[index], inner.get(name)) for index, name in enumerate(order))
    routes, edge, label = [], 0, len(order)
    for number, line in enumerate(sketch.lines):
        place = None
        if line.label and line.source != line.target:
            place = places[label]
            before, after = (_points(laid.edges[edge + more], left, top, at) for more in (0, 1))
            middle = at(place[1] + place[3] / 2)  # behind the label the edge may change its column
            points = [*before, (before[-1][0], middle), (after[0][0], middle), *after]
            edge, label = edge + 2, label + 1
        else:
            points = _points(laid.edges[edge], left, top, at)
            if line.label:  # of a loop at one box: beside it
                width, height = measure.label(line.label)
                (x, above), (_, below) = points[1:3]
                place = (x + measure.loop[1], at((above + below - height) / 2), width, height)
            edge += 1
        routes.append(Route(line, tuple(points[::-1] if number in back else points), place))
    return trimmed(sketch, placed, routes)


def _corner(laid: Any) -> Point:
    return laid.bounds["min"]["x"], laid.bounds["min"]["y"]


def _rectangle(node: Any, left: float, top: float, at: Any) -> tuple[float, float, float, float]:
    width, height = node["size"]["width"], node["size"]["height"]
    return at(node["center"]["x"] - width / 2 - left), at(node["center"]["y"] - height / 2 - top), width, height


def _points(edge: Any, left: float, top: float, at: Callable[[float], float]) -> list[Point]:
    """The bends as they are drawn; what is straight stays so, though its ends be rounded apart."""
    points: list[Point] = []
    for number, point in enumerate(edge["points"]):
        x, y = at(point["x"] - left), at(point["y"] - top)
        if number:
            before = edge["points"][number - 1]
            x = points[-1][0] if abs(point["x"] - before["x"]) < _STRAIGHT else x
            y = points[-1][1] if abs(point["y"] - before["y"]) < _STRAIGHT else y
        points.append((x, y))
    return points


__all__ = ["arrange"]
