"""What cannot be told apart is a fault, in pixels and in characters."""

from __future__ import annotations

from tests.graphs.pictures.sketches import sketched
from vertebra.graphs.pictures.canvas import Canvas
from vertebra.graphs.pictures.crossings import crossings
from vertebra.graphs.pictures.plans import Placed, Plan, Point, Rectangle, Route


def plan(*lines: tuple[Point, ...], box: Rectangle | None = None, label: Rectangle | None = None) -> Plan:
    """Lines by their points; the first has the label."""
    sketch = sketched(("a", "b", "yes"))
    boxes = () if box is None else (Placed(sketch.boxes[1], *box),)
    routes = (Route(sketch.lines[0], points, None if number else label) for number, points in enumerate(lines))
    return Plan(sketch, 400.0, 400.0, boxes, tuple(routes))


def test_lines_that_are_close_look_like_one() -> None:
    side_by_side = plan(((0.0, 0.0), (0.0, 50.0)), ((3.0, 20.0), (3.0, 70.0)))
    assert crossings(side_by_side) == 0
    assert crossings(side_by_side, apart=5.0) == 1
    assert crossings(plan(((0.0, 0.0), (0.0, 50.0)), ((3.0, 50.0), (3.0, 70.0))), apart=5.0) == 0


def test_a_line_that_stops_on_its_way_is_one() -> None:
    assert crossings(plan(((0.0, 0.0), (0.0, 20.0), (0.0, 20.0), (0.0, 50.0)), ((0.0, 10.0), (0.0, 40.0)))) == 1


def test_a_line_close_beside_a_box_looks_like_its_border() -> None:
    beside = plan(((102.0, 0.0), (102.0, 90.0)), box=(0.0, 20.0, 100.0, 50.0))
    assert (crossings(beside), crossings(beside, apart=5.0)) == (0, 1)


def test_in_characters_lines_may_cross_but_not_turn_in_one_cell() -> None:
    down, across = ((32.0, 0.0), (32.0, 96.0)), ((0.0, 0.0), (0.0, 48.0), (80.0, 48.0), (80.0, 96.0))
    assert Canvas(plan(down, across)).clashes == []
    turning = ((0.0, 0.0), (0.0, 48.0), (32.0, 48.0), (32.0, 96.0))
    assert (4, 3) in Canvas(plan(down, turning)).clashes
    back = ((80.0, 0.0), (80.0, 48.0), (32.0, 48.0), (32.0, 96.0))
    assert (4, 3) in Canvas(plan(turning, back)).clashes


def test_in_characters_no_line_is_under_a_box_or_the_label_of_another() -> None:
    line = (40.0, 0.0), (40.0, 128.0)
    assert Canvas(plan(line, label=(24.0, 48.0, 40.0, 16.0))).clashes == []
    other = ((0.0, 0.0), (0.0, 48.0), (24.0, 48.0), (24.0, 128.0))
    assert (3, 3) in Canvas(plan(line, other, label=(24.0, 48.0, 40.0, 16.0))).clashes
    assert (5, 3) in Canvas(plan(line, box=(24.0, 48.0, 88.0, 48.0))).clashes
