"""No edge crosses a box, nothing overlaps, and the same graph gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.graphs.pictures.gallery import FOLDER, GALLERY
from tests.graphs.pictures.geometry import faults
from tests.graphs.pictures.sketches import sketches
from vertebra.graphs.pictures import Picture
from vertebra.graphs.pictures.arranging import arrange
from vertebra.graphs.pictures.canvas import Canvas
from vertebra.graphs.pictures.sketch import Sketch, sketch_of
from vertebra.graphs.pictures.svg import PIXELS
from vertebra.graphs.pictures.text import CELLS
from vertebra.types import END, START

ROOT = Path(__file__).parents[3]


@given(sketches())
@settings(max_examples=60, deadline=None)
def test_any_graph_is_drawn_so_that_it_can_be_read(sketch: Sketch) -> None:
    assert faults(arrange(sketch, PIXELS)) == []
    assert faults(arrange(sketch, CELLS)) == []


@given(sketches())
@settings(max_examples=40, deadline=None)
def test_in_text_no_edge_runs_on_another_and_all_labels_are_whole(sketch: Sketch) -> None:
    assert Canvas(arrange(sketch, CELLS)).clashes == []
    text = Picture(sketch).text
    for box in sketch.boxes:
        assert box.name[:20] in text


@pytest.mark.parametrize("name", GALLERY)
def test_a_reference_graph_is_drawn_without_fault_and_as_it_is_in_the_gallery(name: str) -> None:
    graph = GALLERY[name]()
    sketch = sketch_of(graph.definition)
    assert faults(arrange(sketch, PIXELS)) == []
    assert faults(arrange(sketch, CELLS)) == []
    golden = (FOLDER / f"{name}.svg").read_text()
    assert graph.draw().svg == golden, "drawn anew by: python -m tests.graphs.pictures.gallery"


def test_the_gallery_page_shows_each_of_them() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text()
    for name in GALLERY:
        assert f"(gallery/{name}.svg)" in page


def test_another_process_with_another_hash_seed_draws_the_same_bytes() -> None:
    code = (
        "import hashlib; from tests.graphs.pictures.gallery import GALLERY\n"
        "for name, make in GALLERY.items():\n"
        "    p = make().draw()\n"
        "    print(hashlib.sha256((p.svg + p.text + p.dot + p.mermaid).encode()).hexdigest())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert len(told.pop().split()) == len(GALLERY)


def test_the_spine_is_straight_and_a_loop_leads_back_beside_it() -> None:
    plan = arrange(sketch_of(GALLERY["tool-loop"]().definition), PIXELS)
    middle = {placed.box.id: placed.x + placed.width / 2 for placed in plan.boxes}
    spine = [middle[name] for name in (START, "model", "approve", "answer", END)]
    assert max(spine) - min(spine) < 1
    back = next(route for route in plan.routes if route.line.ends == ("tools", "model"))
    assert back.points[0][1] > back.points[-1][1], "upwards"
    assert all(abs(x - middle["model"]) > 10 for x, _ in back.points), "beside the spine"


def test_a_graph_of_150_nodes_is_drawn_within_seconds_and_is_not_too_wide() -> None:
    plan = arrange(sketch_of(GALLERY["150-nodes"]().definition), PIXELS)
    assert len(plan.boxes) == 152
    assert plan.width < 2200
