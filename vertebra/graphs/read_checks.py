"""Static checks of what is read: fields that nothing can have written yet, fields that nobody reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from vertebra.graphs import places
from vertebra.graphs.accesses import Access, Accesses
from vertebra.graphs.definition import Definition
from vertebra.graphs.flow_checks import error, warning
from vertebra.types import END, START, Finding


def declared_reads(definition: Definition) -> Iterator[Finding]:
    for spec in definition.nodes.values():
        for field in spec.reads or ():
            if field not in definition.schema.fields:
                near = difflib.get_close_matches(field, definition.schema.fields, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "mend reads=."
                yield error("unknown_field", spec.name, f"the state has no field {field!r}.", hint)


def reads(definition: Definition) -> Iterator[Finding]:
    """Both checks, over one look at the sources of the nodes and routers."""
    if any(name not in definition.nodes for name in _named(definition)):
        return  # the names are mended first
    known = Accesses(definition)
    read = {name: known.reads(spec) for name, spec in definition.nodes.items()}
    asked = [(choice.source, known.reads_of(choice.router)) for choice in definition.choices]
    yield from _too_early(definition, known, read, asked)
    yield from _never(definition, known, [*read.values(), *(access for _, access in asked)])


def _named(definition: Definition) -> Iterator[str]:
    known = {START, END}
    for source, targets in definition.successors().items():
        yield from (name for name in (source, *targets) if name not in known)
    yield from (spec.fallback for spec in definition.nodes.values() if spec.fallback)


def _never(definition: Definition, known: Accesses, accesses: list[Access]) -> Iterator[Finding]:
    """Fields without a default or reducer that no node writes and none reads: they are given for nothing.

    What a node writes and none reads is what the graph is for. What has a default may be there for another graph.
    """
    if not all(access.all for access in accesses):
        return
    left = set(definition.schema.fields).difference(*(access.fields for access in accesses))
    left -= {fan.over for fan in definition.fan_outs} | definition.schema.defaulted
    left -= {name for name, field in definition.schema.fields.items() if field.reducer is not None}
    if not left:
        return
    written = [known.writes(spec) for spec in definition.nodes.values()]
    if all(access.all for access in written):
        for field in sorted(left.difference(*(access.fields for access in written))):
            yield warning(
                "field_never_read",
                f"field {field}",
                "no node and no router reads it, and no node writes it: what is given for it changes nothing.",
                "remove the field, or let a node read it.",
            )


def _too_early(
    definition: Definition, known: Accesses, read: dict[str, Access], asked: list[tuple[str, Access]]
) -> Iterator[Finding]:
    """Of a TypedDict, which has no defaults: fields that a node needs, and that only later nodes write.

    Other states are whole from the start: their input is validated. A field that no node writes is input, and one
    with a reducer begins with an empty value.
    """
    if definition.schema.kind != "typeddict":
        return
    needed = frozenset[str]().union(*(access.needed for access in [*read.values(), *(each for _, each in asked)]))
    plain = {name for name in needed if definition.schema.fields[name].reducer is None}
    if not plain:
        return
    writes = {name: known.writes(spec) for name, spec in definition.nodes.items()}
    graph = _with_stand_ins(definition)
    for field in sorted(plain):
        writers = [name for name, access in writes.items() if field in access.fields]
        others = [name for name, access in writes.items() if not access.all]
        if not writers:
            continue
        given = _reached(graph, [*writers, *others])
        late = [name for name, access in read.items() if field in access.needed and name not in given]
        routed = [s for s, access in asked if field in access.needed and s not in given and s not in writers]
        for place in (*late, *(places.choice(source) for source in routed)):
            yield warning(
                "read_before_written",
                place,
                f"it needs field {field!r}, which only {_some(writers)} may write, on no path before it.",
                f"put a node that writes {field!r} before it, take it by state.get({field!r}), or give it a reducer.",
            )


def _with_stand_ins(definition: Definition) -> dict[str, list[str]]:
    """The edges, those from a node to what stands in for it too."""
    graph = {name: list(targets) for name, targets in definition.successors().items()}
    for name, spec in definition.nodes.items():
        if spec.fallback in definition.nodes:
            after = graph.get(name, [])
            graph.setdefault(str(spec.fallback), []).extend(after)
            graph[name] = [*after, str(spec.fallback)]
    return graph


def _reached(graph: dict[str, list[str]], origins: list[str]) -> set[str]:
    """All nodes after any of ``origins``: themselves only if they lie on a cycle."""
    seen: set[str] = set()
    stack = list(origins)
    while stack:
        for following in graph.get(stack.pop(), ()):
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return seen


def _some(names: list[str]) -> str:
    return " or ".join(names[:3]) + (f" or {len(names) - 3} more" if len(names) > 3 else "")
