"""The layout that can always be read: each edge has a place of its own in every layer that it passes.

Graphlay is asked for the order and the middle of what is in a layer. The rest is done here, on columns that an edge
shares with no other: what is in a layer keeps its neighbours off, `ports` gives each edge its place at a box, and
`channels` leads it to the next layer, which lies as far below as all of them need tracks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from vertebra.graphs.pictures.channels import tracks
from vertebra.graphs.pictures.leading import Leading
from vertebra.graphs.pictures.plans import LOOP, Measure, Placed, Plan, Point, Rectangle, Route, Size, trimmed
from vertebra.graphs.pictures.ports import COLUMN, Across, beside, ports
from vertebra.graphs.pictures.sketch import Box, Line, Sketch

Stop = str | int | tuple[int, int]
"""What is in a layer: a box by its id, the label of a line by its number, or a line and the layer that it passes."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What is to be laid out. ``ways``: the stops from above of each line that leads from one box to another."""

    sketch: Sketch
    measure: Measure
    leading: Leading
    boxes: Mapping[str, Box]
    sizes: Mapping[Stop, Size]
    layer: Mapping[Stop, int]
    ways: Mapping[int, tuple[Stop, ...]]


def layers_of(
    sketch: Sketch, measure: Measure, leading: Leading, sizes: Mapping[str, Size], ranks: Mapping[str | int, int]
) -> Layers:
    """The layers by the ranks of boxes and labels; a line has a stop in each that it passes.

    ``ranks``: by the id of the box or the number of the line that has the label; they rise along each line.
    """
    close = {rank: number for number, rank in enumerate(sorted(set(ranks.values())))}
    layer: dict[Stop, int] = {stop: close[rank] for stop, rank in ranks.items()}
    boxes = {box.id: box for box in sketch.boxes}
    room: dict[Stop, Size] = {}
    ways: dict[int, tuple[Stop, ...]] = {}
    edges = Counter[tuple[str, str]]()
    for number, line in enumerate(sketch.lines):
        if line.source == line.target:
            continue
        above, below = leading.downward(number, line)
        way = list[Stop]()
        for level in range(layer[above] + 1, layer[below]):
            stop = number if layer.get(number) == level else (number, level)
            layer[stop] = level
            room[stop] = measure.label(line.label) if stop == number else measure.stroke
            way.append(stop)
        ways[number] = (above, *way, below)
        edges.update([(above, "below"), (below, "above")])
    for name, (width, height) in sizes.items():
        border = 2 * measure.corner + measure.stroke[0] + (measure.stack if boxes[name].stacked else 0.0)
        between = max(1, edges[name, "above"], edges[name, "below"]) - 1
        pairs = max(math.ceil((width - border) / (2 * COLUMN)), math.ceil(between * measure.port / (2 * COLUMN)))
        room[name] = border + pairs * 2 * COLUMN, height
    return Layers(sketch, measure, leading, boxes, room, layer, ways)


def in_layers(layers: Layers, inner: Mapping[str, Plan]) -> Plan:
    """The plan in which nothing is in the way of anything else."""
    measure, sizes, layer = layers.measure, layers.sizes, layers.layer
    across = _across(layers)
    ends = _ends(layers, across)
    channels = [tracks(of_channel, COLUMN) for of_channel in ends]
    gap, lane = measure.gaps["layer_gap"], measure.gaps["bundle_lane_gap"]
    tops, grounds = [0.0], list[float]()
    for number, (_, count) in enumerate(channels):
        grounds.append(tops[-1] + max(sizes[stop][1] for stop in layer if layer[stop] == number))
        tops.append(grounds[-1] + gap + max(0, count - 1) * lane)

    def placed(stop: Stop) -> Rectangle:
        (width, height), number = sizes[stop], layer[stop]
        above = measure.at((grounds[number] - tops[number] - height) / 2, 1)
        return across[stop].left, tops[number] + above, width, height

    def led(number: int, way: Sequence[Stop]) -> list[Point]:
        first, last = layer[way[0]], layer[way[-1]]
        _, top, _, height = placed(way[0])
        points = [(ends[first][number][0], top + height)]
        for level in range(first, last):
            for run, track in channels[level][0].get(number, ()):
                y = grounds[level] + gap / 2 + track * lane
                points += [(run.source, y), (run.target, y)]
        return [*points, (ends[last - 1][number][1], placed(way[-1])[1])]

    boxes = {name: Placed(layers.boxes[name], *placed(name), inner.get(name)) for name in layers.leading.order}
    routes = []
    for number, line in enumerate(layers.sketch.lines):
        if number in layers.ways:
            points = led(number, layers.ways[number])
            label = placed(number) if line.label else None
            routes.append(Route(line, tuple(points[::-1] if number in layers.leading.back else points), label))
        else:
            routes.append(_loop(layers, boxes[line.source], line))
    return trimmed(layers.sketch, tuple(boxes.values()), routes)


def _across(layers: Layers) -> dict[Stop, Across]:
    """The place of everything across, in graphlay's order and as near to its middles as can be."""
    import graphlay

    measure = layers.measure
    apart, close = measure.gaps["node_gap"], measure.gaps["dummy_gap"]
    graph: Any = graphlay.Graph()
    for stop, level in layers.layer.items():
        width, height = layers.sizes[stop]
        more = 0.0 if isinstance(stop, tuple) else apart - close
        graph.node(stop, width=max(width + more, 1.0), height=max(height, 1.0), rank={"fixed": level})
        if loops := _loops(layers, stop):
            widest = max(loops, key=lambda line: measure.label(line.label))
            graph.edge(stop, stop, label_size=list(measure.label(widest.label)))
    for number, way in layers.ways.items():
        weight = 12.0 if layers.sketch.lines[number].ends in layers.leading.spine else 1.0
        for above, below in pairwise(way):
            graph.edge(above, below, weight=weight)
    options = {
        "direction": "topbottom",
        "effort": "thorough",
        "spacing": {"node_gap": close, "dummy_gap": close},
        "self_loops": {"side": "cross_positive", "size": measure.loop[0], "label_gap": measure.loop[1]},
    }
    laid = graphlay.layout(graph, options=options)
    middle = {stop: node["center"]["x"] for stop, node in zip(graph.ids, laid.nodes, strict=True)}
    found: dict[Stop, Across] = {}
    before: dict[int, Stop] = {}
    for stop in sorted(layers.layer, key=lambda stop: middle[stop]):
        last = before.get(layers.layer[stop])
        gap = close if isinstance(stop, tuple) or isinstance(last, tuple) else apart
        after = float("-inf") if last is None else found[last].right + gap
        width = layers.sizes[stop][0]
        if isinstance(stop, str):
            right = measure.corner + measure.stroke[0] + (measure.stack if layers.boxes[stop].stacked else 0.0)
            place = beside(after, middle[stop], width, measure.corner, right)
            if loops := _loops(layers, stop):
                label = max(measure.label(line.label)[0] if line.label else 0.0 for line in loops)
                place = replace(place, right=place.right + measure.stroke[0] + sum(measure.loop) + label)
        else:
            side = (width - measure.stroke[0]) / 2
            place = beside(after, middle[stop], width, side, side + measure.stroke[0])
        found[stop] = place
        before[layers.layer[stop]] = stop
    return found


def _ends(layers: Layers, across: Mapping[Stop, Across]) -> list[dict[int, tuple[float, float]]]:
    """For each channel, from the first on, the columns in which each edge leaves the layer above and meets that below.

    From above: an edge would like to begin over the middle of where it leads, and to end right below where it began.
    """
    measure = layers.measure
    spine = {number for number, line in enumerate(layers.sketch.lines) if line.ends in layers.leading.spine}
    above: list[dict[Stop, dict[int, Stop]]] = [{} for _ in set(layers.layer.values())]
    below: list[dict[Stop, dict[int, Stop]]] = [{} for _ in above]
    for number, way in layers.ways.items():
        for upper, lower in pairwise(way):
            above[layers.layer[upper]].setdefault(upper, {})[number] = lower
            below[layers.layer[upper]].setdefault(lower, {})[number] = upper
    found = []
    for leaving, meeting in zip(above, below, strict=True):
        starts: dict[int, float] = {}
        for stop, edges in leaving.items():
            wanted = {number: across[lower].middle for number, lower in edges.items()}
            starts |= ports(across[stop], wanted, next(iter(spine & edges.keys()), None), measure.port)
        targets: dict[int, float] = {}
        for stop, edges in meeting.items():
            wanted = {number: starts[number] for number in edges}
            targets |= ports(across[stop], wanted, next(iter(spine & edges.keys()), None), measure.port)
        found.append({number: (starts[number], targets[number]) for number in starts})
    return found


def _loops(layers: Layers, stop: Stop) -> list[Line]:
    return [line for line in layers.sketch.lines if line.ends == (stop, stop)]


def _loop(layers: Layers, placed: Placed, line: Line) -> Route:
    """Beside its box, one below the other."""
    measure, same = layers.measure, _loops(layers, line.source)
    out, gap = measure.loop
    x, y = placed.x + placed.width, placed.y + placed.height * (2 * same.index(line) + 1) / (2 * len(same))
    above, below = measure.at(y - LOOP / 2, 1), measure.at(y + LOOP / 2, 1)
    points = (x, above), (x + out, above), (x + out, below), (x, below)
    place = None
    if line.label:
        width, height = measure.label(line.label)
        place = x + out + gap, measure.at((above + below + measure.stroke[1] - height) / 2, 1), width, height
    return Route(line, points, place)


__all__ = ["Layers", "in_layers", "layers_of"]
