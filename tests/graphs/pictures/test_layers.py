"""Graphs that were once drawn with a fault, and the layout that has none, whatever the graph."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.graphs.pictures.geometry import faults
from tests.graphs.pictures.sketches import sketched, sketches
from vertebra.graphs.pictures import Picture
from vertebra.graphs.pictures.arranging import arrange
from vertebra.graphs.pictures.canvas import Canvas
from vertebra.graphs.pictures.plans import Plan
from vertebra.graphs.pictures.sketch import Sketch
from vertebra.graphs.pictures.svg import PIXELS, Pixels
from vertebra.graphs.pictures.text import CELLS, Cells
from vertebra.types import END, START

EMPTY = Sketch("empty", sketched((START, END)).boxes, ())
ONCE_FAULTY = {
    "a line beside the label of one that leads there too": sketched(
        ("a", END), ("a", END, "not yet"), ("a", END, "yes"), kinds={"a": "llm"}
    ),
    "a loop at a box whose width is no whole number": sketched(("a", "a"), kinds={"a": "subgraph"}, inner=EMPTY),
    "two lines that pass each other in one column of characters": sketched(
        ("n1", "n2"),
        ("n2", "node 3xxxxxxxxxxxx"),
        ("node 3xxxxxxxxxxxx", "n5"),
        ("node 3xxxxxxxxxxxx", "node 6xxxxxxxx"),
        ("node 3xxxxxxxxxxxx", "node 6xxxxxxxx"),
        ("n4", "n5"),
        ("n4", "node 6xxxxxxxx"),
        ("n5", "n1"),
        ("node 6xxxxxxxx", END),
        ("node 6xxxxxxxx", "node 3xxxxxxxxxxxx"),
        kinds={"n1": "llm", "node 3xxxxxxxxxxxx": "subgraph", "n4": "effect", "n5": "human", "node 6xxxxxxxx": "human"},
    ),
    "a long label beside a graph within": sketched(
        ("a", END, "somebody has to look at it"),
        ("a", "node 3xxxxxxxxxx"),
        ("node 3xxxxxxxxxx", "d"),
        ("d", END),
        ("d", "d"),
        kinds={"a": "human", "d": "subgraph"},
        inner=Sketch("within", sketched(("e", "e"), kinds={"e": "llm"}).boxes, ()),
    ),
    "a loop whose label a line would pass": sketched(
        ("n0", "n1"),
        ("n0", "n4", "yes"),
        ("n1", "n0", "yes"),
        ("n1", "n6"),
        ("n4", "n1", "yes"),
        ("n4", "n4", "somebody has to look at it"),
        ("n4", "n6"),
        kinds={"n1": "effect", "n4": "subgraph", "n6": "plain"},
    ),
    "loops at boxes without edges": sketched(("a", "a", "x"), ("a", "a", "y"), *((name, name) for name in "bcdefg")),
    "two loops at one box": sketched((START, "a"), ("a", "a", "again"), ("a", "a", "not yet"), ("a", END)),
    "three loops at one box": sketched(("a", "a", "again"), ("a", "a", "not yet"), ("a", "a")),
}


class NoPixels(Pixels):
    """Is content with nothing that graphlay makes."""

    def faults(self, plan: Plan) -> int:
        return 1


class NoCells(Cells):
    """The same, in characters."""

    def faults(self, plan: Plan) -> int:
        return 1


@pytest.mark.parametrize("sketch", ONCE_FAULTY.values(), ids=ONCE_FAULTY)
def test_what_was_drawn_with_a_fault_once_has_none(sketch: Sketch) -> None:
    assert faults(arrange(sketch, PIXELS)) == []
    assert faults(arrange(sketch, CELLS)) == []
    assert Canvas(arrange(sketch, CELLS)).clashes == []


@pytest.mark.parametrize("sketch", ONCE_FAULTY.values(), ids=ONCE_FAULTY)
def test_in_layers_neither(sketch: Sketch) -> None:
    in_layers(sketch)


@given(sketches())
@settings(max_examples=30, deadline=None)
def test_in_layers_no_graph_has_a_fault(sketch: Sketch) -> None:
    in_layers(sketch)


def in_layers(sketch: Sketch) -> None:
    """Lay it out without graphlay's edges, and find no fault, by the strictest judge."""
    plan, text = arrange(sketch, NoPixels()), arrange(sketch, NoCells())
    assert faults(plan) == faults(text) == []
    assert PIXELS.faults(plan) == CELLS.faults(text) == 0


def test_in_layers_the_spine_is_straight_too() -> None:
    ways = (START, "a"), ("a", "b", "yes"), ("a", "c", "no"), ("b", "d"), ("c", "d"), ("d", "a", "again"), ("d", END)
    plan = arrange(sketched(*ways), NoPixels())
    middle = {placed.box.id: placed.x + placed.width / 2 for placed in plan.boxes}
    assert len({middle[name] for name in (START, "a", "b", "d", END)}) == 1
    straight = [route for route in plan.routes if len({x for x, _ in route.points}) == 1]
    assert {route.line.ends for route in straight} >= {(START, "a"), ("a", "b"), ("b", "d"), ("d", END)}


def test_each_of_two_loops_at_one_box_has_its_label_in_text() -> None:
    text = Picture(ONCE_FAULTY["two loops at one box"]).text
    assert "again" in text
    assert "not yet" in text
