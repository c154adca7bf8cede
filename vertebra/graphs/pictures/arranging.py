"""Where everything goes: the spine straight down, loops reversed and led past it, labels as places of their own.

A label is laid out as if it were a node in the middle of its edge, so that it can overlap nothing. A graph within
a node is laid out first, and its node made as large. The layout itself is graphlay's: layered, with orthogonal edges.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from vertebra.graphs.pictures.layers import in_layers, layers_of
from vertebra.graphs.pictures.leading import Leading, leading_of
from vertebra.graphs.pictures.plans import BESIDE, Measure, Placed, Plan, Point, Rectangle, Route, Size, trimmed
from vertebra.graphs.pictures.sketch import Sketch

_STRAIGHT = 1.0
"""Graphlay moves a bend by less than a pixel here and there, and leaves the next where it was."""
_IN_A_ROW = 5
_TRIALS: tuple[dict[str, Any], ...] = ({}, {"seed": 1}, {"coords": {"placement": "brandes_koepf"}})
"""One layout in thirty has an edge that runs through or close by something; of the same graph in another way, few."""


def arrange(sketch: Sketch, measure: Measure) -> Plan:
    """Give everything its place. The same sketch gives the same plan, in every process.

    What graphlay lays out is judged; where it has a fault every time, its layers are kept and `layers` does the rest.
    """
    import graphlay

    inner = {box.id: arrange(box.inner, measure) for box in sketch.boxes if box.inner is not None}
    leading = leading_of(sketch)
    sizes = _sizes(sketch, measure, leading, inner)
    graph = _graph(sketch, measure, leading, sizes)
    ranks: dict[str | int, int] = {}
    for trial in _TRIALS:
        laid = graphlay.layout(graph, options=_options(measure, **trial))
        plan = _plan(sketch, measure, laid, leading, inner)
        if not measure.faults(plan):
            return plan
        ranks = ranks or _ranks(sketch, laid)
    return in_layers(layers_of(sketch, measure, leading, sizes, ranks), inner)


def _ranks(sketch: Sketch, laid: Any) -> dict[str | int, int]:
    """The layers of boxes and labels; boxes that no edge leads to or from fill them in rows."""
    led = {end for line in sketch.lines if line.source != line.target for end in line.ends}
    alone = [box.id for box in sketch.boxes if box.id not in led]
    found = {stop: node["rank"] for stop, node in zip(laid.ids, laid.nodes, strict=True)}
    return found | {name: number // _IN_A_ROW for number, name in enumerate(alone)}


def _sizes(sketch: Sketch, measure: Measure, leading: Leading, inner: Mapping[str, Plan]) -> dict[str, Size]:
    """Each box as large as what is in it, as wide as its edges need, and as high as its loops."""
    above, below, loops = Counter[str](), Counter[str](), Counter[str]()
    for number, line in enumerate(sketch.lines):
        upper, lower = leading.downward(number, line)
        below[upper] += 1
        above[lower] += 1
        loops[upper] += upper == lower
    found = {}
    for box in sketch.boxes:
        width, height = measure.box(box)
        if (within := inner.get(box.id)) is not None:
            side, top, bottom = measure.padding
            width = max(width, math.ceil(within.width + 2 * side))
            height = within.height + top + bottom
        ends = max(above[box.id], below[box.id], 1)
        tall = loops[box.id] * BESIDE if loops[box.id] > 1 else 0.0
        found[box.id] = max(width, (ends - 1) * measure.port + 2 * measure.corner), max(height, tall)
    return found


def _graph(sketch: Sketch, measure: Measure, leading: Leading, sizes: Mapping[str, Size]) -> Any:
    """What graphlay is asked. The id of a node is that of its box, and for a label the number of its line."""
    import graphlay

    graph: Any = graphlay.Graph()
    for name in leading.order:
        graph.node(name, width=sizes[name][0], height=sizes[name][1])
    for number, line in enumerate(sketch.lines):
        source, target = leading.downward(number, line)
        weight = 12.0 if line.ends in leading.spine else 1.0
        if line.label and source != target:
            width, height = measure.label(line.label)
            graph.node(number, width=width, height=height)
            graph.edge(source, number, weight=weight)
            graph.edge(number, target, weight=weight)
        else:
            label = {"label_size": list(measure.label(line.label))} if line.label else {}
            graph.edge(source, target, weight=weight, **label)
    return graph


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


def _plan(sketch: Sketch, measure: Measure, laid: Any, leading: Leading, inner: Mapping[str, Plan]) -> Plan:
    """What graphlay found, as it is drawn."""
    across, down = partial(measure.at, axis=0), partial(measure.at, axis=1)
    left, top = laid.bounds["min"]["x"], laid.bounds["min"]["y"]

    def place(node: Any) -> Rectangle:
        width, height = node["size"]["width"], node["size"]["height"]
        x, y = node["center"]["x"] - width / 2 - left, node["center"]["y"] - height / 2 - top
        return across(x), down(y), width, height

    boxes = {box.id: box for box in sketch.boxes}
    places = {stop: place(node) for stop, node in zip(laid.ids, laid.nodes, strict=True)}
    placed = tuple(Placed(boxes[name], *places[name], inner.get(name)) for name in leading.order)
    edges = iter([_points(edge, left, top, across, down) for edge in laid.edges])
    routes = []
    for number, line in enumerate(sketch.lines):
        points = next(edges)
        label = places.get(number)
        if label is not None:
            middle = down(label[1] + label[3] / 2)  # behind the label the edge may change its column
            before, after = points, next(edges)
            points = [*before, (before[-1][0], middle), (after[0][0], middle), *after]
        elif line.label:  # of a loop at one box: beside it
            width, height = measure.label(line.label)
            (x, above), (_, below) = points[1:3]
            label = x + measure.loop[1], down((above + below + measure.stroke[1] - height) / 2), width, height
        routes.append(Route(line, tuple(points[::-1] if number in leading.back else points), label))
    return trimmed(sketch, placed, routes)


def _points(
    edge: Any, left: float, top: float, across: Callable[[float], float], down: Callable[[float], float]
) -> list[Point]:
    """The bends as they are drawn; what is straight stays so, though its ends be rounded apart."""
    points: list[Point] = []
    for number, point in enumerate(edge["points"]):
        x, y = across(point["x"] - left), down(point["y"] - top)
        if number:
            before = edge["points"][number - 1]
            x = points[-1][0] if abs(point["x"] - before["x"]) < _STRAIGHT else x
            y = points[-1][1] if abs(point["y"] - before["y"]) < _STRAIGHT else y
        points.append((x, y))
    return points


__all__ = ["arrange"]
