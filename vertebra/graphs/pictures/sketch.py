"""What a picture shows, before it has any place: boxes, lines, and how each is marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from vertebra.errors import UsageError
from vertebra.graphs.definition import Definition
from vertebra.graphs.pictures.palette import Theme
from vertebra.types import END, START

if TYPE_CHECKING:
    from vertebra.graphs.pictures.picture import Picture

BoxKind = Literal["start", "end", "transition", "llm", "effect", "human", "subgraph", "plain"]
Tone = Literal["", "faded", "taken", "running", "waiting", "bad", "refuted", "added", "removed", "changed"]
"""How a box or a line is marked: what a run did there, on the path that refutes a claim, other in another version."""

KIND_WORDS: Mapping[str, str] = {
    "transition": "code",
    "llm": "model",
    "effect": "effect",
    "human": "person",
    "subgraph": "graph",
    "plain": "node",
}


@dataclass(frozen=True, slots=True)
class Box:
    """A node. ``notes`` are short lines below its name; ``stacked``: it runs once for each item of a fan-out."""

    id: str
    name: str
    kind: BoxKind
    word: str = ""
    notes: tuple[str, ...] = ()
    tone: Tone = ""
    stacked: bool = False
    inner: Sketch | None = None
    """The graph within, where it is drawn open."""


@dataclass(frozen=True, slots=True)
class Line:
    """An edge; ``dashed`` where it is no ordinary one: a bound that is used up, a fallback."""

    source: str
    target: str
    label: str = ""
    dashed: bool = False
    tone: Tone = ""

    @property
    def ends(self) -> tuple[str, str]:
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class Sketch:
    """A graph as it is to be drawn. ``caption``: lines above it."""

    title: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    caption: tuple[str, ...] = ()

    def marked(self, box: Callable[[Box], Box], line: Callable[[Line], Line] | None = None) -> Sketch:
        """The same with each box (and line) replaced; graphs within are left to ``box``."""
        lines = self.lines if line is None else tuple(map(line, self.lines))
        return replace(self, boxes=tuple(map(box, self.boxes)), lines=lines)

    def picture(self, *, run: Any = None, depth: int = 1, theme: Theme = "auto") -> Picture:
        """This sketch, drawn; ``run`` is laid over it."""
        from vertebra.graphs.pictures.drawing import draw_sketch

        return draw_sketch(self, run=run, depth=depth, theme=theme)

    def run_bundle(self, run: Any) -> Any:
        """How a notebook shows a run of this graph."""
        from vertebra.graphs.pictures.notebook import run_bundle

        return run_bundle(run)


def sketch_of(definition: Definition) -> Sketch:
    """The sketch of a graph, and within it those of its subgraphs, however deep."""
    lines = _lines(definition)
    named = dict.fromkeys((START, *definition.nodes, *(end for line in lines for end in line.ends), END))
    spread = {fan.worker: fan.over for fan in definition.fan_outs}
    boxes = tuple(_box(definition, name, spread) for name in named)
    return Sketch(f"{definition.name} {definition.version}", boxes, lines)


def sketch_of_builder(title: str, builder: Any) -> Sketch:
    """The sketch of a LangGraph ``StateGraph``: what a router may choose is drawn only where it has said so."""
    lines = [Line(source, target) for source, target in sorted(builder.edges)]
    lines += [Line(source, target) for sources, target in sorted(builder.waiting_edges) for source in sources]
    for source, branches in builder.branches.items():
        for branch in branches.values():
            ends = branch.ends or {name: name for name in (*builder.nodes, END)}
            lines += [
                Line(source, target, "" if str(key) == target else str(key), dashed=not branch.ends)
                for key, target in ends.items()
            ]
    boxes = [
        Box(START, "START", "start"),
        *(Box(name, name, "plain") for name in builder.nodes),
        Box(END, "END", "end"),
    ]
    return Sketch(title, tuple(boxes), tuple(dict.fromkeys(lines)))


def folded(sketch: Sketch, depth: int) -> Sketch:
    """The sketch with its subgraphs open down to ``depth`` levels, and closed below. Raises ``UsageError``."""
    if not isinstance(depth, int) or depth < 0:
        raise UsageError(f"depth is {depth!r}; 0 or more.", remedy="0 folds every subgraph, 1 opens one level.")

    def fold(box: Box) -> Box:
        return box if box.inner is None else replace(box, inner=folded(box.inner, depth - 1) if depth else None)

    return sketch.marked(fold)


def _box(definition: Definition, name: str, spread: Mapping[str, str]) -> Box:
    if name in (START, END):
        return Box(name, "START" if name == START else "END", "start" if name == START else "end")
    spec = definition.nodes.get(name)
    if spec is None:  # named by an edge, and not there: check() says so, and the picture shows it
        return Box(name, name, "plain", "missing", tone="bad")
    word = KIND_WORDS[spec.kind]
    if name in spread:
        word = f"{word}, each of {spread[name]}"
    inner = None
    if spec.kind == "subgraph":
        graph = definition.subgraphs[name].definition
        word = word if graph.name == name else f"{word} {graph.name}"
        inner = sketch_of(graph)
    return Box(name, name, spec.kind, word, stacked=name in spread, inner=inner)


def _lines(definition: Definition) -> tuple[Line, ...]:
    """Edges, those between the same two nodes that one router chooses made one."""
    found: dict[Line, None] = {}
    for source, target in definition.edges:
        found[Line(source, target)] = None
    for sources, target in definition.joins:
        for source in sources:
            found[Line(source, target)] = None
    for choice in definition.choices:
        keys: dict[str, list[str]] = {}
        for key, target in choice.mapping.items():
            keys.setdefault(target, []).append(str(key))
        for target, names in keys.items():
            shown = [name for name in names if name != target]
            found[Line(choice.source, target, ", ".join(shown))] = None
        if choice.on_exhausted is not None:
            label = f"after {choice.max_visits}×" if choice.max_visits is not None else "exhausted"
            found[Line(choice.source, choice.on_exhausted, label, dashed=True)] = None
    for fan in definition.fan_outs:
        found[Line(fan.source, fan.worker)] = None
    for name, spec in definition.nodes.items():
        if spec.fallback is not None:
            found[Line(name, spec.fallback, "fallback", dashed=True)] = None
    return tuple(_one_loop_each(found))


def _one_loop_each(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines, all loops at one box as one."""
    found = list(lines)
    loops: dict[str, list[Line]] = {}
    for line in found:
        if line.source == line.target:
            loops.setdefault(line.source, []).append(line)
    for line in found:
        same = loops.get(line.source, []) if line.source == line.target else [line]
        if line is same[0]:
            yield line if len(same) == 1 else replace(line, label=", ".join(each.label for each in same if each.label))
