"""Sketches for tests: any that hypothesis draws, and small ones by their lines."""

from __future__ import annotations

from typing import cast

from hypothesis import strategies as st

from vertebra.graphs.pictures.sketch import Box, BoxKind, Line, Sketch
from vertebra.types import END, START

LABELS = ("", "yes", "not yet", "somebody has to look at it")
KINDS = ("transition", "llm", "effect", "human", "subgraph", "plain")


@st.composite
def sketches(draw: st.DrawFn, depth: int = 1) -> Sketch:
    """Graphs that a run could take, with cycles, parallel edges, loops at one node, and graphs within."""
    size = draw(st.integers(1, 9))
    names = [f"node {number}" + "x" * draw(st.integers(0, 14)) for number in range(size)]
    boxes = [Box(START, "START", "start")]
    for name in names:
        inner = draw(sketches(depth=0)) if depth and draw(st.integers(0, 7)) == 0 else None
        kind = "subgraph" if inner is not None else draw(st.sampled_from(KINDS))
        notes = tuple(draw(st.lists(st.just("1,204 tokens"), max_size=2)))
        boxes.append(Box(name, name, kind, kind, notes, stacked=draw(st.booleans()), inner=inner))  # type: ignore[arg-type]
    lines = {Line(START, names[0])}
    for number in range(1, size):
        lines.add(Line(names[draw(st.integers(0, number - 1))], names[number], draw(st.sampled_from(LABELS))))
    for _ in range(draw(st.integers(0, size))):
        ends = draw(st.sampled_from(names)), draw(st.sampled_from([*names, END]))
        if ends[0] != ends[1] or not any(line.ends == ends for line in lines):
            lines.add(Line(*ends, draw(st.sampled_from(LABELS)), draw(st.booleans())))
    lines.add(Line(names[-1], END))
    ordered = sorted(lines, key=lambda line: (line.ends, line.label, line.dashed))
    return Sketch("random", (*boxes, Box(END, "END", "end")), tuple(ordered))


def sketched(
    *lines: tuple[str, str] | tuple[str, str, str], kinds: dict[str, str] | None = None, inner: Sketch | None = None
) -> Sketch:
    """A sketch by its lines. ``kinds``: of the boxes that are not of code; ``inner``: the graph in each subgraph."""
    kinds = kinds or {}
    names = dict.fromkeys(end for line in lines for end in line[:2] if end not in (START, END))
    boxes = []
    for name in names:
        kind = cast(BoxKind, kinds.get(name, "transition"))
        boxes.append(Box(name, name, kind, kind, inner=inner if kind == "subgraph" else None))
    ends = Box(START, "START", "start"), Box(END, "END", "end")
    return Sketch("small", (ends[0], *boxes, ends[1]), tuple(Line(*line) for line in lines))
