"""Questions about directed graphs, answered without knowing what a node is.

A graph is a mapping from an id to its successors. Reachability and components are
``networkx``'s; ``frontiers`` explores which nodes can be active together.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

N = TypeVar("N", bound=Hashable)
Successors = Mapping[N, Collection[N]]


def reachable(graph: Successors[N], start: N) -> set[N]:
    """All nodes on paths from ``start``, itself included."""
    seen, stack = {start}, [start]
    while stack:
        for successor in graph.get(stack.pop(), ()):
            if successor not in seen:
                seen.add(successor)
                stack.append(successor)
    return seen


def reversed_graph(graph: Successors[N]) -> dict[N, list[N]]:
    """The same nodes with each edge turned around."""
    result: dict[N, list[N]] = {node: [] for node in graph}
    for node, successors in graph.items():
        for successor in successors:
            result.setdefault(successor, []).append(node)
    return result


def cycles(graph: Successors[N]) -> list[list[N]]:
    """One representative cycle for each strongly connected component that has one."""
    import networkx as nx

    digraph = nx.DiGraph()
    digraph.add_nodes_from(graph)
    digraph.add_edges_from((a, b) for a, successors in graph.items() for b in successors)
    found = []
    for component in nx.strongly_connected_components(digraph):
        part = digraph.subgraph(component)
        if part.number_of_edges():
            found.append([edge[0] for edge in nx.find_cycle(part)])
    return found


def components(graph: Successors[N]) -> dict[N, int]:
    """The number of the strongly connected component of each node."""
    import networkx as nx

    digraph = nx.DiGraph()
    digraph.add_nodes_from(graph)
    digraph.add_edges_from((a, b) for a, successors in graph.items() for b in successors)
    return {node: number for number, part in enumerate(nx.strongly_connected_components(digraph)) for node in part}


def frontiers(
    always: Successors[N],
    choices: Mapping[N, Sequence[Collection[N]]],
    waits: Mapping[N, frozenset[N]],
    start: N,
    limit: int = 4000,
) -> tuple[set[frozenset[N]], bool]:
    """The sets of nodes that can be active in one superstep, and whether all were explored.

    From an active node, all of ``always`` follow, and one member of each set in ``choices``. A node
    of ``waits`` becomes active when all that it waits for have run since it last ran.
    """
    first: tuple[frozenset[N], frozenset[tuple[N, N]]] = (frozenset([start]), frozenset())
    seen = {first}
    queue = [first]
    active: set[frozenset[N]] = set()
    while queue:
        frontier, arrived = queue.pop()
        active.add(frontier)
        options = [tuple(option) for node in frontier for option in choices.get(node, ())]
        for picked in itertools.islice(itertools.product(*options), limit):
            following: set[N] = {s for node in frontier for s in always.get(node, ())}
            following.update(picked)
            marks = set(arrived)
            for target, sources in waits.items():
                marks.update((target, source) for source in sources & frontier)
                if all((target, source) in marks for source in sources):
                    following.add(target)
                    marks.difference_update((target, source) for source in sources)
            state = (frozenset(following), frozenset(marks))
            if following and state not in seen:
                if len(seen) >= limit:
                    return active, False
                seen.add(state)
                queue.append(state)
    return active, True


def pairs(sets: Iterable[frozenset[N]]) -> set[frozenset[N]]:
    """All pairs of different nodes that stand together in one of the sets."""
    return {frozenset(pair) for group in sets for pair in itertools.combinations(group, 2)}
