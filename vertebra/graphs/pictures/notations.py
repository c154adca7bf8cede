"""A sketch in the notations of other tools: Graphviz's DOT, and Mermaid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from vertebra.graphs.pictures.sketch import Box, Sketch
from vertebra.graphs.pictures.widths import clean
from vertebra.types import END, START

_SHAPES: Mapping[str, str] = {
    "start": "shape=oval",
    "end": "shape=oval",
    "transition": "shape=box",
    "llm": 'shape=box style="rounded"',
    "effect": "shape=octagon",
    "human": "shape=hexagon",
    "subgraph": "shape=box peripheries=2",
    "plain": 'shape=box style="dashed"',
}
_MERMAID: Mapping[str, tuple[str, str]] = {
    "start": ("([", "])"),
    "end": ("([", "])"),
    "transition": ("[", "]"),
    "llm": ("(", ")"),
    "effect": ("[/", "/]"),
    "human": ("{{", "}}"),
    "subgraph": ("[[", "]]"),
    "plain": ("[", "]"),
}


def to_dot(sketch: Sketch) -> str:
    """Graphviz's notation; a graph within a node becomes a cluster."""
    return "\n".join([f"digraph {_quoted(clean(sketch.title))} {{", *_dot(sketch, "", "  "), "}"]) + "\n"


def _dot(sketch: Sketch, path: str, indent: str) -> Iterator[str]:
    ends: dict[str, tuple[str, str]] = {}
    for number, box in enumerate(sketch.boxes):
        name = path + (box.id if clean(box.id) == box.id else f"node {number}")
        ends[box.id] = (name, name)
        if box.inner is None:
            label = "\\n".join(_escaped(clean(line)) for line in (box.name, box.word, *box.notes) if line)
            yield f'{indent}{_quoted(name)} [label="{label}" {_SHAPES[box.kind]}]'
            continue
        # An edge to a graph within leads to its START, one from it leaves at its END.
        ends[box.id] = (f"{name}/{START}", f"{name}/{END}")
        yield f"{indent}subgraph {_quoted(f'cluster {name}')} {{"
        yield f"{indent}  label={_quoted(clean(box.name))}"
        yield from _dot(box.inner, f"{name}/", indent + "  ")
        yield f"{indent}}}"
    for line in sketch.lines:
        known = [f"label={_quoted(clean(line.label))}"] if line.label else []
        known += ["style=dashed"] if line.dashed else []
        source, target = ends[line.source][1], ends[line.target][0]
        more = f" [{' '.join(known)}]" if known else ""
        yield f"{indent}{_quoted(source)} -> {_quoted(target)}{more}"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def to_mermaid(sketch: Sketch) -> str:
    """Mermaid's flowchart notation; a graph within a node becomes a subgraph."""
    return "\n".join(["flowchart TD", *_mermaid(sketch, "n", "  ")]) + "\n"


def _mermaid(sketch: Sketch, prefix: str, indent: str) -> Iterator[str]:
    # Ids of our own: names of nodes may be words that Mermaid keeps for itself.
    ids = {box.id: f"{prefix}{number}" for number, box in enumerate(sketch.boxes)}
    for box in sketch.boxes:
        if box.inner is None:
            opening, closing = _MERMAID[box.kind]
            yield f"{indent}{ids[box.id]}{opening}{_mermaid_text(_label(box))}{closing}"
            continue
        yield f"{indent}subgraph {ids[box.id]}[{_mermaid_text(box.name)}]"
        yield from _mermaid(box.inner, f"{ids[box.id]}_", indent + "  ")
        yield f"{indent}end"
    for line in sketch.lines:
        arrow = "-.->" if line.dashed else "-->"
        label = f"|{_mermaid_text(line.label)}|" if line.label else ""
        yield f"{indent}{ids[line.source]} {arrow}{label} {ids[line.target]}"


def _label(box: Box) -> str:
    return "\n".join(line for line in (box.name, box.word, *box.notes) if line)


def _mermaid_text(text: str) -> str:
    """Quoted, with what means something to Mermaid as its own entities, such as ``#34;``."""
    lines = [re.sub(r"[\"#&;<>`]", lambda found: f"#{ord(found[0])};", clean(line)) for line in text.split("\n")]
    return '"' + "<br/>".join(lines) + '"'


__all__ = ["to_dot", "to_mermaid"]
