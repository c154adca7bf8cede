"""The static checks: each a small function from a definition to findings; all of them always run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, Union, get_args, get_origin

from vertebra.graphs import topology
from vertebra.graphs.definition import Definition
from vertebra.graphs.writes import written_fields
from vertebra.nodes.kinds import NodeSpec
from vertebra.types import END, START, Finding

Check = Callable[[Definition], Iterator[Finding]]
RESERVED = "vertebra."


def check(definition: Definition) -> list[Finding]:
    """Run every check; errors come before warnings, otherwise in the order of the checks."""
    findings = [finding for one in CHECKS for finding in one(definition)]
    unique = list(dict.fromkeys(findings))
    return sorted(unique, key=lambda finding: finding.severity != "error")


def _error(code: str, place: str, message: str, remedy: str) -> Finding:
    return Finding(code, "error", place, message, remedy)


def names(definition: Definition) -> Iterator[Finding]:
    for name in definition.redefined:
        yield _error(
            "duplicate_node", name, f"two different functions are called {name!r}.", "add one under another name."
        )
    for name in definition.nodes:
        if name in (START, END) or name.startswith(RESERVED) or any(c in name for c in "|:/@#~") or not name:
            yield _error(
                "bad_name", name or "''", "the name is reserved or has one of | : / @ # ~ in it.", "rename the node."
            )
    for field in definition.schema.fields:
        if field.startswith(RESERVED):
            yield _error("bad_name", field, "the field's name is reserved.", "rename the field.")


def unknown_nodes(definition: Definition) -> Iterator[Finding]:
    known = {START, END, *definition.nodes}
    used = [(source, f"edge {source} -> {target}") for source, target in definition.edges]
    used += [(target, f"edge {source} -> {target}") for source, target in definition.edges]
    used += [(s, f"edge {list(sources)} -> {t}") for sources, t in definition.joins for s in (*sources, t)]
    used += [(n, f"conditional edges of {c.source}") for c in definition.choices for n in (c.source, *c.targets)]
    used += [(n, f"fan_out of {f.source}") for f in definition.fan_outs for n in (f.source, f.worker)]
    used += [(s.fallback, f"fallback of {s.name}") for s in definition.nodes.values() if s.fallback]
    for name, place in used:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? Otherwise add" if near else "add"
            yield _error(
                "unknown_node", place, f"there is no node {name!r}.", f"{hint} it with add_node({name!r}, ...)."
            )


def ends(definition: Definition) -> Iterator[Finding]:
    successors = definition.successors()
    for source, target in [*definition.edges, *((s, t) for sources, t in definition.joins for s in sources)]:
        if source == END:
            yield _error("edge_from_end", f"edge {source} -> {target}", "nothing follows END.", "remove the edge.")
        if target == START:
            yield _error("edge_to_start", f"edge {source} -> {target}", "nothing leads to START.", "name a node.")
    if not successors[START]:
        yield _error("no_start", START, "no edge leaves START.", "add_edge(START, first_node).")
        return
    from_start = topology.reachable(successors, START)
    to_end = topology.reachable(topology.reversed_graph(successors), END)
    stand_ins = {spec.fallback for spec in definition.nodes.values() if spec.fallback}
    for name in definition.nodes:
        if name not in from_start and name not in stand_ins:
            yield _error(
                "unreachable_node", name, "no path from START leads to it.", "add an edge to it, or remove the node."
            )
        elif name not in to_end and name in from_start:
            why = "no edge leaves it" if not successors[name] else "no path from it leads to END"
            yield _error("no_way_to_end", name, f"{why}.", f"add_edge({name!r}, END), or an edge towards END.")


def cycles(definition: Definition) -> Iterator[Finding]:
    part = topology.components(definition.successors())
    graph = {node: list(targets) for node, targets in definition.successors().items()}
    for choice in definition.choices:
        if choice.max_visits is None:
            continue
        # A bounded choice cannot keep a cycle alive: take its edges within the cycle out.
        bounded = {t for t in choice.mapping.values() if part.get(t) == part.get(choice.source)}
        fixed = set(definition.static_targets(choice.source))
        graph[choice.source] = [t for t in graph[choice.source] if t not in bounded or t in fixed]
        if not bounded:
            yield Finding(
                "bound_without_cycle",
                "warning",
                f"conditional edges of {choice.source}",
                "max_visits is declared, but no target leads back.",
                "remove max_visits.",
            )
    for cycle in topology.cycles(graph):
        path = " -> ".join([*cycle, cycle[0]])
        yield _error(
            "unbounded_cycle",
            path,
            "nothing bounds this cycle.",
            "leave it by add_conditional_edges(..., max_visits=n) at one of its nodes.",
        )
    for choice in definition.choices:
        if choice.on_exhausted is not None and part.get(choice.on_exhausted) == part.get(choice.source):
            yield _error(
                "exhausted_within_cycle",
                f"conditional edges of {choice.source}",
                f"on_exhausted leads to {choice.on_exhausted!r}, which is in the same cycle.",
                "name a node outside of the cycle.",
            )
        if choice.on_exhausted is not None and choice.max_visits is None:
            yield _error(
                "exhausted_without_bound",
                f"conditional edges of {choice.source}",
                "on_exhausted is declared without max_visits.",
                "declare max_visits.",
            )


def routers(definition: Definition) -> Iterator[Finding]:
    for choice in definition.choices:
        place = f"conditional edges of {choice.source}"
        if not choice.mapping:
            yield _error("empty_mapping", place, "there is no target to choose.", "map the router's answers to nodes.")
        for answer in _declared_answers(choice.router):
            if answer not in choice.mapping:
                yield _error(
                    "router_target_not_declared",
                    place,
                    f"the router may answer {answer!r}, for which the mapping has no node.",
                    f"add {answer!r} to the mapping.",
                )


def _declared_answers(router: Any) -> tuple[Any, ...]:
    """The answers that a router's return annotation declares with ``Literal``."""
    import typing

    try:
        hint = typing.get_type_hints(getattr(router, "__wrapped__", router)).get("return")
    except Exception:
        return ()
    if get_origin(hint) is typing.Literal:
        return get_args(hint)
    return ()


def fan_outs(definition: Definition) -> Iterator[Finding]:
    workers: dict[str, str] = {}
    for fan in definition.fan_outs:
        place = f"fan_out({fan.source} => {fan.worker})"
        field = definition.schema.fields.get(fan.over)
        if field is None:
            yield _error("unknown_field", place, f"the state has no field {fan.over!r}.", "name a field of the state.")
        elif not _is_sequence(field.annotation):
            yield _error(
                "not_a_sequence", place, f"field {fan.over!r} is {field.type_name()}.", "fan out over a list or tuple."
            )
        if fan.source in workers or fan.source in {f.worker for f in definition.fan_outs}:
            yield _error(
                "nested_fan_out", place, f"{fan.source!r} is itself a fan_out worker.", "join first, or use a subgraph."
            )
        workers[fan.worker] = fan.source
    for choice in definition.choices:
        if choice.source in workers:
            yield _error(
                "choice_in_fan_out",
                f"conditional edges of {choice.source}",
                "a fan_out worker's outgoing edge is the join; it cannot be conditional.",
                "add a node after the join, or make the worker a subgraph.",
            )
    for name in workers:
        incoming = [s for s, t in definition.edges if t == name]
        incoming += [c.source for c in definition.choices if name in c.targets]
        for source in incoming:
            yield _error(
                "worker_without_item",
                name,
                f"it receives items of a fan_out, but an edge from {source!r} would hand it the state.",
                "remove that edge, or use another node.",
            )


def _is_sequence(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is None:
        return annotation in (list, tuple, Any)
    if origin in (list, tuple):
        return True
    return any(_is_sequence(argument) for argument in get_args(annotation)[:1])


def parallel_writes(definition: Definition) -> Iterator[Finding]:
    writes = {name: written_fields(definition, name) for name in definition.nodes}
    plain = {name for name, field in definition.schema.fields.items() if field.reducer is None}
    for fan in definition.fan_outs:
        for field in sorted((writes.get(fan.worker) or set()) & plain):
            yield _parallel(field, f"{fan.worker} (each item of {fan.over})")
    always: dict[str, list[str]] = {}
    choices: dict[str, list[tuple[str, ...]]] = {}
    for source, target in definition.edges:
        always.setdefault(source, []).append(target)
    for fan in definition.fan_outs:
        choices.setdefault(fan.source, []).append((fan.worker, *definition.static_targets(fan.worker)))
    for choice in definition.choices:
        choices.setdefault(choice.source, []).append(choice.targets)
    waits = {target: frozenset(sources) for sources, target in definition.joins}
    active, _ = topology.frontiers(always, choices, waits, START)
    for pair in topology.pairs(active):
        one, two = sorted(pair)
        for field in sorted((writes.get(one) or set()) & (writes.get(two) or set()) & plain):
            yield _parallel(field, f"{one} and {two}")


def _parallel(field: str, place: str) -> Finding:
    return _error(
        "parallel_writers",
        place,
        f"field {field!r} can be written twice in one superstep and has no reducer.",
        f"declare {field!r} as Append[T] or Annotated[T, reducer], or let one node write it.",
    )


def questions(definition: Definition) -> Iterator[Finding]:
    for spec in definition.nodes.values():
        if spec.kind != "human":
            continue
        if spec.into is not None and spec.into not in definition.schema.fields:
            yield _error("unknown_field", spec.name, f"the state has no field {spec.into!r}.", "name a field in into=.")
        elif spec.into is None and len(fields_of_type(definition, spec)) != 1:
            count = len(fields_of_type(definition, spec))
            yield _error(
                "answer_without_field",
                spec.name,
                f"{count or 'no'} field{'s' if count != 1 else ''} of the state can hold its answer.",
                "say which: @human(answer=..., into='field').",
            )


def fields_of_type(definition: Definition, spec: NodeSpec) -> list[str]:
    """The fields whose type is the answer's, or that or None."""
    return [name for name, field in definition.schema.fields.items() if spec.answer in _alternatives(field.annotation)]


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    import types

    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def subgraphs(definition: Definition) -> Iterator[Finding]:
    for name, graph in definition.subgraphs.items():
        for finding in graph.check():
            yield Finding(finding.code, finding.severity, f"{name}/{finding.place}", finding.message, finding.remedy)
        inner = graph.definition.schema.fields
        worker = any(fan.worker == name for fan in definition.fan_outs)
        if not worker and not set(inner) & set(definition.schema.fields):
            yield _error(
                "subgraph_shares_nothing",
                name,
                "the subgraph's state has no field in common with this one: nothing goes in or out.",
                "give the fields that pass the same name in both states.",
            )


def fallbacks(definition: Definition) -> Iterator[Finding]:
    for spec in definition.nodes.values():
        if spec.fallback == spec.name:
            yield _error("fallback_is_itself", spec.name, "it falls back to itself.", "name another node.")


CHECKS: tuple[Check, ...] = (
    names,
    unknown_nodes,
    ends,
    cycles,
    routers,
    fan_outs,
    parallel_writes,
    questions,
    subgraphs,
    fallbacks,
)
