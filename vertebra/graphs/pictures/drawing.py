"""``graph.draw``: which sketch, with what laid over it, becomes a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vertebra.errors import UsageError
from vertebra.graphs.definition import Definition
from vertebra.graphs.pictures.marking import trail_of, with_difference, with_run
from vertebra.graphs.pictures.palette import Theme
from vertebra.graphs.pictures.picture import Picture
from vertebra.graphs.pictures.sketch import Sketch, folded, sketch_of
from vertebra.graphs.shape import shape
from vertebra.types import Run

if TYPE_CHECKING:
    from vertebra.graphs.authoring import Graph


def draw(definition: Definition, *, run: Run | None, diff: Graph | None, depth: int, theme: Theme) -> Picture:
    """What ``Graph.draw`` does."""
    sketch = sketch_of(definition)
    if diff is not None:
        if run is not None:
            raise UsageError("A picture shows a run or a difference, not both.", remedy="draw two.")
        sketch = _difference(definition, diff.definition, sketch)
    return draw_sketch(sketch, run=run, depth=depth, theme=theme)


def draw_sketch(sketch: Sketch, *, run: Run | None = None, depth: int = 1, theme: Theme = "auto") -> Picture:
    """A picture of a sketch, with a run over it. Raises ``UsageError``."""
    if run is not None:
        sketch = with_run(sketch, trail_of(run))
        sketch = replace(sketch, title=f"{sketch.title} · {run.thread_id}")
    return Picture(folded(sketch, depth), theme=theme)


def _difference(new: Definition, old: Definition, sketch: Sketch) -> Sketch:
    before, after = shape(old)["nodes"], shape(new)["nodes"]
    changed = {name for name in before if name in after and before[name] != after[name]}
    # A node that became the worker of a fan-out, or ceased to be one, has its shape unchanged.
    over: list[dict[str, Any]] = [{fan.worker: fan.over for fan in each.fan_outs} for each in (old, new)]
    changed |= {name for name in before if name in after and over[0].get(name) != over[1].get(name)}
    return with_difference(sketch_of(old), sketch, frozenset(changed))
