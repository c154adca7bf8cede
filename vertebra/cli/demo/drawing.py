"""The graph as it was run, in the picture that every graph has: what happened at each node, the kill marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vertebra.cli.demo.story import Stage
from vertebra.graphs.pictures import Picture
from vertebra.graphs.pictures.sketch import Box, Line, Sketch, sketch_of


def draw(stages: Sequence[Stage]) -> Picture:
    """The demo's graph with what its stages came to."""
    from vertebra.cli.demo.graph import scribe

    ran = {stage.name: stage for stage in stages if stage.executions or stage.killed}

    def box(box: Box) -> Box:
        stage = ran.get(box.id)
        if stage is None:
            return box if box.kind in ("start", "end") else replace(box, tone="faded")
        return replace(box, tone="bad" if stage.killed else "taken", notes=tuple(_lines(stage)))

    def line(line: Line) -> Line:
        known = {*ran, *(end for end in line.ends if end.startswith("__"))}
        last = max((number for number, stage in enumerate(stages) if stage.name in ran), default=0)
        ended = not line.target.startswith("__") or line.source == stages[last].name
        return replace(line, tone="taken" if known.issuperset(line.ends) and ended else "faded")

    sketch: Sketch = replace(sketch_of(scribe().definition), title="")
    return Picture(sketch.marked(box, line))


def _lines(stage: Stage) -> list[str]:
    """At most three lines: how often and how long, calls and tokens, then what the crash took and what it did not."""
    often = f"{stage.executions}× · " if stage.executions > 1 and not stage.killed else ""
    lines = [f"{often}{stage.spent.seconds:.1f} s"]
    if stage.kind != "llm":
        return lines
    calls = f"{stage.spent.calls} call{'s' if stage.spent.calls != 1 else ''}"
    lines.append(calls + (f" · {stage.spent.tokens:,} tokens" if stage.spent.tokens else ""))
    if stage.killed:
        lines.append(f"✗ killed here: {stage.broken_off} call lost, {stage.from_journal} from the journal")
    elif stage.kept:
        lines.append(f"{stage.kept} kept through the crash")
    return lines
