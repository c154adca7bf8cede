"""What is laid over a picture: a run, the path that refutes a claim, another version of the graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from vertebra.graphs.pictures.sketch import Box, Line, Sketch, Tone
from vertebra.types import END, START, Interrupt, Run, Usage, VisitRecord

Path = tuple[str, ...]
"""The names of the nodes that a node is within, and its own."""
_LEVEL = re.compile(r"(.+?)@(\d+)(?:#\d+)?(?:/|[~!].*|$)")


@dataclass(frozen=True, slots=True)
class Trail:
    """What is known of a run while it goes on, and after."""

    visits: Sequence[VisitRecord] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    status: str = "running"
    running: frozenset[Path] = frozenset()
    interrupts: Sequence[Interrupt] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    """By node, the code of the error that ended the run there."""


def trail_of(run: Run) -> Trail:
    """The trail of a run as it stands."""
    failed = {}
    if run.error is not None and run.status == "failed":
        node = run.error.context.get("node")
        failed = dict.fromkeys([node] if node in run.next else run.next, run.error.code)
    return Trail(run.visits, run.usage, run.status, frozenset(), run.interrupts, failed)


def level_of(visit: str) -> tuple[Path, int]:
    """The path of the node that a visit executed, and the superstep within its own graph.

    Example::

        >>> level_of("scribe@3/summarise@1#4~b7")
        (('scribe', 'summarise'), 1)
    """
    levels = _LEVEL.findall(visit)
    return tuple(name for name, _ in levels), int(levels[-1][1]) if levels else -1


def with_run(sketch: Sketch, trail: Trail) -> Sketch:
    """The sketch with what a run did to each node, and the edges that it took; the rest is faint."""
    return replace(_with_trail(sketch, trail, ()), caption=(*sketch.caption, *_told(trail)))


def _told(trail: Trail) -> list[str]:
    total = sum(trail.usage.values(), Usage())
    parts = [trail.status, counted(total.calls, "call") if total.calls else "", _tokens(total)]
    parts.append(f"{total.replayed} from the journal" if total.replayed else "")
    return [" · ".join(part for part in parts if part)]


def _with_trail(sketch: Sketch, trail: Trail, outer: Path) -> Sketch:
    levels = [(record, *level_of(record.visit)) for record in trail.visits]
    here: dict[str, list[VisitRecord]] = {}
    steps: dict[str, set[int]] = {}
    for record, path, step in levels:
        if path[:-1] == outer and path:
            here.setdefault(path[-1], []).append(record)
            if record.outcome != "failed":
                steps.setdefault(path[-1], set()).add(step)
    begun = {path[len(outer)] for _, path, _ in levels if path[: len(outer)] == outer and len(path) > len(outer)}
    going = {path[len(outer)] for path in trail.running if path[: len(outer)] == outer and len(path) > len(outer)}

    boxes = tuple(
        _with_visits(box, here.get(box.id, []), box.id in begun | going, trail, outer) for box in sketch.boxes
    )
    now = {box.id for box in boxes if box.tone in ("running", "waiting", "bad")}
    touched = {box.id for box in boxes if box.tone != "faded"}
    last = max((step for of_node in steps.values() for step in of_node), default=0)
    over = not now and (trail.status == "done" or bool(outer))

    def taken(line: Line) -> bool:
        source, target = steps.get(line.source, set()), steps.get(line.target, set())
        if line.source == START:
            first = min((step for of_node in steps.values() for step in of_node), default=None)
            return line.target in touched and (first is None or first in target or not steps)
        if line.target == END:
            return over and last in source
        if line.target in now and last in source:
            return True
        return any(step + 1 in target for step in source)

    lines = tuple(replace(line, tone="taken" if taken(line) else "faded") for line in sketch.lines)
    reached = {line.target for line in lines if line.tone == "taken"}
    ended = tuple(
        replace(box, tone="taken" if box.id in reached or box.kind == "start" else "faded")
        if box.kind in ("start", "end")
        else box
        for box in boxes
    )
    return replace(sketch, boxes=ended, lines=lines)


def _with_visits(box: Box, visits: Sequence[VisitRecord], begun: bool, trail: Trail, outer: Path) -> Box:
    path = (*outer, box.id)
    inner = box.inner
    if inner is not None:
        inner = _with_trail(inner, trail, path)
    asks = any(interrupt.node == box.id for interrupt in trail.interrupts) and (not outer or begun)
    usage = trail.usage.get(box.id, Usage()) if visits or begun or asks else Usage()
    notes = _notes(visits, usage)
    tone: Tone = "taken" if visits or begun else "faded"
    inside = {b.tone for b in inner.boxes} if inner is not None else set()
    if path in trail.running or "running" in inside:
        tone, notes = "running", [*notes, "running"]
    if asks or "waiting" in inside:
        tone, notes = "waiting", [*notes, "waits for an answer"]
    if box.id in trail.failed and tone != "waiting":
        tone, notes = "bad", [*notes, f"failed: {trail.failed[box.id]}"]
    return replace(box, tone=tone, notes=(*box.notes, *notes), inner=inner)


def _notes(visits: Sequence[VisitRecord], usage: Usage) -> list[str]:
    """At most three lines: how often and how long; calls and tokens; what did not go well."""
    seconds = sum(visit.finished_at - visit.started_at for visit in visits)
    often = [f"{len(visits)}×" if len(visits) != 1 else "", _seconds(seconds)] if visits else []
    calls = [counted(usage.calls, "call") if usage.calls else "", _tokens(usage)]
    retries = sum(visit.executions - 1 for visit in visits)
    trouble = [
        counted(retries, "retry", "retries") if retries else "",
        f"{usage.replayed} from the journal" if usage.replayed else "",
        f"{usage.lost} lost" if usage.lost else "",
        "skipped" if any(visit.outcome == "skipped" for visit in visits) else "",
    ]
    lines = (" · ".join(part for part in parts if part) for parts in (often, calls, trouble))
    return [line for line in lines if line]


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 call``, ``2 calls``."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _tokens(usage: Usage) -> str:
    tokens = usage.input_tokens + usage.output_tokens
    return f"{tokens:,} tokens" if tokens else ""


def _seconds(seconds: float) -> str:
    if seconds >= 90:
        return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
    return f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds * 1000:.0f} ms"


def with_path(sketch: Sketch, names: Iterable[str], caption: str = "") -> Sketch:
    """The sketch with one path through it in red, and the rest faint; names as a ``Proof`` gives them."""
    path = [{"START": START, "END": END}.get(name, name) for name in names]
    shown = _on_path(sketch, path, "")
    return replace(shown, caption=(*sketch.caption, *([caption] if caption else [])))


def _on_path(sketch: Sketch, path: Sequence[str], prefix: str) -> Sketch:
    """Names within a graph begin with that of its node: ``outer/inner``."""
    own = [name.removeprefix(prefix).split("/", 1)[0] for name in path if name.startswith(prefix)]
    route = [name for number, name in enumerate(own) if number == 0 or name != own[number - 1]]
    if prefix and route:  # a graph within is entered at its START, and left at its END if the path goes on
        route = [START, *route] + ([END] if not path[-1].startswith(prefix) else [])
    repeated = {(a, b) for a, b in pairwise(own) if a == b}
    steps = {*pairwise(route), *repeated}

    def box(box: Box) -> Box:
        inner = None if box.inner is None else _on_path(box.inner, path, f"{prefix}{box.id}/")
        return replace(box, tone="refuted" if box.id in route else "faded", inner=inner)

    def line(line: Line) -> Line:
        return replace(line, tone="refuted" if line.ends in steps else "faded")

    return sketch.marked(box, line)


def with_difference(old: Sketch, new: Sketch, changed: frozenset[str]) -> Sketch:
    """Both versions in one: what ``new`` added, what it removed of ``old``, and the ``changed`` nodes."""
    before, after = {box.id: box for box in old.boxes}, {box.id: box for box in new.boxes}
    tones: dict[str, Tone] = dict.fromkeys(changed, "changed")
    boxes = [
        replace(_compared(before.get(box.id), box), tone=tones.get(box.id, "") if box.id in before else "added")
        for box in new.boxes
    ]
    gone = [replace(box, tone="removed") for box in old.boxes if box.id not in after]
    known = {(line.ends, line.label, line.dashed) for line in old.lines}
    kept = {(line.ends, line.label, line.dashed) for line in new.lines}
    lines = [
        line if (line.ends, line.label, line.dashed) in known else replace(line, tone="added") for line in new.lines
    ]
    lost = [replace(line, tone="removed") for line in old.lines if (line.ends, line.label, line.dashed) not in kept]
    title = new.title if new.title == old.title else f"{old.title} → {new.title}"
    return replace(new, title=title, boxes=(*boxes, *gone), lines=(*lines, *lost))


def _compared(old: Box | None, new: Box) -> Box:
    if old is None or old.inner is None or new.inner is None:
        return new
    same = frozenset(
        box.id
        for box in new.inner.boxes
        for other in old.inner.boxes
        if box.id == other.id and (box.kind, box.word) != (other.kind, other.word)
    )
    return replace(new, inner=with_difference(old.inner, new.inner, same))


__all__ = ["Trail", "level_of", "trail_of", "with_difference", "with_path", "with_run"]
