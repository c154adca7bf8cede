"""Static checks of control flow: names, edges, cycles, routers, the place of fan-outs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from vertebra.graphs import places, topology
from vertebra.graphs.answers import declared_answers
from vertebra.graphs.definition import Definition
from vertebra.types import END, START, Finding

RESERVED = ("vertebra.", "__")
"""What names of ours and of LangGraph begin with."""


def error(code: str, place: str, message: str, remedy: str, nodes: Iterable[str] = ()) -> Finding:
    return Finding(code, "error", place, message, remedy, nodes=tuple(nodes))


def warning(code: str, place: str, message: str, remedy: str) -> Finding:
    return Finding(code, "warning", place, message, remedy)


def names(definition: Definition) -> Iterator[Finding]:
    for name in definition.redefined:
        yield error(
            "duplicate_node", name, f"two different functions are called {name!r}.", "add one under another name."
        )
    for name in definition.nodes:
        if not name or name.startswith(RESERVED) or any(c in name for c in "|:/@#~"):
            yield error(
                "bad_name", name or "''", "the name is reserved or has one of | : / @ # ~ in it.", "rename the node."
            )
    for field in definition.schema.fields:
        if field.startswith(RESERVED):
            yield error("bad_name", field, "the field's name is reserved.", "rename the field.")


def _links(definition: Definition) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """Sources, targets and place of every edge, conditional edge set and fan-out."""
    for source, target in definition.edges:
        yield (source,), (target,), places.edge(source, target)
    for sources, target in definition.joins:
        yield sources, (target,), places.join(sources, target)
    for choice in definition.choices:
        yield (choice.source,), choice.targets, places.choice(choice.source)
    for fan in definition.fan_outs:
        yield (fan.source,), (fan.worker,), places.fan_out(fan.source, fan.worker)


def unknown_nodes(definition: Definition) -> Iterator[Finding]:
    used = [(name, place) for sources, targets, place in _links(definition) for name in (*sources, *targets)]
    fallbacks = [(s.fallback, f"fallback of {s.name}") for s in definition.nodes.values() if s.fallback]
    known = {START, END, *definition.nodes}
    for name, place in [*used, *fallbacks]:
        if name not in known:
            near = difflib.get_close_matches(name, definition.nodes, n=1)
            hint = f"did you mean {near[0]!r}? Otherwise add" if near else "add"
            yield error(
                "unknown_node", place, f"there is no node {name!r}.", f"{hint} it with add_node({name!r}, ...)."
            )
    workers = [(fan.worker, places.fan_out(fan.source, fan.worker)) for fan in definition.fan_outs]
    for name, place in [*workers, *fallbacks]:
        if name in (START, END):
            yield error("not_a_node", place, f"{name} cannot be executed.", "name a node.")
    for spec in definition.nodes.values():
        if spec.fallback == spec.name:
            yield error("fallback_is_itself", spec.name, "it falls back to itself.", "name another node.")


def ends(definition: Definition) -> Iterator[Finding]:
    for sources, targets, place in _links(definition):
        if END in sources:
            yield error("edge_from_end", place, "nothing follows END.", "remove the edge.")
        if START in targets:
            yield error("edge_to_start", place, "nothing leads to START.", "name a node.")
    for sources, target in definition.joins:
        if START in sources:
            yield error(
                "join_on_start", places.join(sources, target), "START cannot be waited for.", "leave START out."
            )
    successors = definition.successors()
    if not successors[START]:
        yield error("no_start", START, "no edge leaves START.", "add_edge(START, first_node).")
        return
    from_start = topology.reachable(successors, START)
    to_end = topology.reachable(topology.reversed_graph(successors), END)
    stand_ins = {spec.fallback for spec in definition.nodes.values() if spec.fallback}
    for name in definition.nodes:
        if name not in from_start and name not in stand_ins:
            yield error(
                "unreachable_node", name, "no path from START leads to it.", "add an edge to it, or remove the node."
            )
        elif name not in to_end and name in from_start:
            why = "no edge leaves it" if not successors[name] else "no path from it leads to END"
            yield error("no_way_to_end", name, f"{why}.", f"add_edge({name!r}, END), or an edge towards END.")


def cycles(definition: Definition) -> Iterator[Finding]:
    graph = definition.successors()
    part = topology.components(graph)
    edges: dict[str, set[str]] = {}
    for source, target in definition.edges:
        edges.setdefault(source, set()).add(target)
    for choice in definition.choices:
        if choice.max_visits is None:
            continue
        # A bounded choice cannot keep a cycle alive: take its edges within the cycle out.
        bounded = {t for t in choice.mapping.values() if part.get(t) == part.get(choice.source)}
        fixed = edges.get(choice.source, set())
        graph[choice.source] = [t for t in graph[choice.source] if t not in bounded or t in fixed]
        if not bounded:
            yield warning(
                "bound_without_cycle",
                places.choice(choice.source),
                "max_visits is declared, but no target leads back.",
                "remove max_visits.",
            )
    for cycle in topology.cycles(graph):
        yield error(
            "unbounded_cycle",
            " -> ".join([*cycle, cycle[0]]),
            "nothing bounds this cycle.",
            "leave it by add_conditional_edges(..., max_visits=n) at one of its nodes.",
            nodes=cycle,
        )
    for choice in definition.choices:
        place = places.choice(choice.source)
        if choice.on_exhausted is not None and part.get(choice.on_exhausted) == part.get(choice.source):
            yield error(
                "exhausted_within_cycle",
                place,
                f"on_exhausted leads to {choice.on_exhausted!r}, which is in the same cycle.",
                "name a node outside of the cycle.",
            )
        if choice.on_exhausted is not None and choice.max_visits is None:
            yield error(
                "exhausted_without_bound", place, "on_exhausted is declared without max_visits.", "declare max_visits."
            )


def routers(definition: Definition) -> Iterator[Finding]:
    declared: dict[int, tuple[Any, ...]] = {}
    for choice in definition.choices:
        place = places.choice(choice.source)
        if not choice.mapping:
            yield error("empty_mapping", place, "there is no target to choose.", "map the router's answers to nodes.")
        if id(choice.router) not in declared:
            declared[id(choice.router)] = declared_answers(choice.router)
        for answer in declared[id(choice.router)]:
            if answer not in choice.mapping:
                yield error(
                    "router_target_not_declared",
                    place,
                    f"the router may answer {answer!r}, for which the mapping has no node.",
                    f"add {answer!r} to the mapping.",
                )


def fan_outs(definition: Definition) -> Iterator[Finding]:
    """A worker has one source, which gives it items, and static edges, which are the join."""
    workers = [fan.worker for fan in definition.fan_outs]
    for fan in definition.fan_outs:
        if fan.source in workers:
            yield error(
                "nested_fan_out",
                places.fan_out(fan.source, fan.worker),
                f"{fan.source!r} is itself a fan_out worker.",
                "join first, or use a subgraph.",
            )
    for name in dict.fromkeys(workers):
        if workers.count(name) > 1:
            yield error(
                "worker_of_several", name, "several fan_outs share it.", "add it once more under another name for each."
            )
        incoming = [s for s, t in definition.edges if t == name]
        incoming += [s for sources, t in definition.joins for s in sources if t == name]
        incoming += [c.source for c in definition.choices if name in c.targets]
        for source in incoming:
            yield error(
                "worker_without_item",
                name,
                f"it receives items of a fan_out, but an edge from {source!r} would hand it the state.",
                "remove that edge, or use another node.",
            )
    for choice in definition.choices:
        if choice.source in workers:
            yield error(
                "choice_in_fan_out",
                places.choice(choice.source),
                "a fan_out worker's outgoing edge is the join; it cannot be conditional.",
                "add a node after the join, or make the worker a subgraph.",
            )
    for sources, target in definition.joins:
        for name in sources:
            if name in workers:
                yield error(
                    "worker_in_join",
                    places.join(sources, target),
                    f"{name!r} is a fan_out worker: with an empty field it never runs, and {target!r} would wait on.",
                    "add a node after the worker, and join on that.",
                )
