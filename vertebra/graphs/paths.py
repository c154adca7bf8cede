"""Shortest paths of a flow: to a place without another, past an automaton, within the bounds of cycles."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from vertebra.graphs.flow import Flow, N, Step
from vertebra.graphs.topology import cyclic_parts

Automaton = Callable[[int, N], int | None]
"""From a phase and the place entered to the next phase; None: such a path is of no interest."""

Ends = Callable[[N, int, "tuple[int, ...] | None"], bool]
"""Whether a path that stands at a place in a phase, with so much of the counters used (None: not counted), is it."""

STATES = 200_000
"""So many states of a product with counters are looked at, at most."""

S = TypeVar("S")


class Found(NamedTuple):
    """A path, by its places, and whether it keeps within every bound."""

    path: tuple[Any, ...]
    exact: bool = True


def trace(parents: Mapping[S, S | None], last: S | None) -> list[S]:
    """What led to ``last``, from the beginning."""
    found = []
    while last is not None:
        found.append(last)
        last = parents[last]
    return found[::-1]


def derivation(
    flow: Flow[N],
    goals: Collection[N],
    avoid: Collection[N] = (),
    blocked: Collection[tuple[N, N]] = (),
) -> tuple[N, ...] | None:
    """The shortest path to one of ``goals`` when nothing of ``avoid`` happens; a join needs all of its sources.

    Forward chaining, breadth first: of a join the path shows the branch that arrives last.
    """
    missing = [set(sources) for sources, _ in flow.joins]
    parents: dict[N, N | None] = {}
    queue: deque[tuple[N, N | None]] = deque([(flow.start, None)])
    while queue:
        place, parent = queue.popleft()
        if place in parents:
            continue
        parents[place] = parent
        if place in goals:
            return tuple(trace(parents, place))
        targets = [step.target for group in flow.groups.get(place, ()) for step in group]
        for number in flow.joins_from.get(place, ()):
            target = flow.joins[number][1]
            if (place, target) not in blocked:
                missing[number].discard(place)
                targets += [] if missing[number] else [target]
        for target in targets:
            if target in parents or target in avoid or (place, target) in blocked:
                continue
            (queue.appendleft if target in flow.hidden else queue.append)((target, place))
    return None


def search(
    flow: Flow[N],
    automaton: Automaton[N],
    ends: Ends[N],
    *,
    counted: bool,
    origin: N | None = None,
    limit: int = STATES,
) -> Found | None:
    """The shortest path that ends as ``ends`` says, joins taken as steps.

    ``counted``: the path keeps within the bounds of cycles. Where the product has more than ``limit`` states the
    bounds are left out of account, and the path that is found is not exact.
    """
    start = flow.start if origin is None else origin
    first = automaton(0, start)
    if first is None:
        return None
    beginning = (start, first, (0,) * len(flow.limits) if counted else None)
    parents: dict[Any, Any] = {}
    queue: deque[tuple[Any, Any]] = deque([(beginning, None)])
    while queue:
        state, parent = queue.popleft()
        if state in parents:
            continue
        if len(parents) >= limit and counted:
            return search(flow, automaton, ends, counted=False, origin=origin)
        parents[state] = parent
        place, phase, counts = state
        if ends(place, phase, counts):
            path = tuple(each[0] for each in trace(parents, state))
            return Found(path, counted)
        for step in flow.steps(place):
            used = spend(flow, step, counts)
            following = automaton(phase, step.target)
            if following is None or (used is None and counted):
                continue
            entry = ((step.target, following, used), state)
            (queue.appendleft if step.target in flow.hidden else queue.append)(entry)
    return None


def lasso(flow: Flow[N], avoid: Collection[N], *, limit: int = STATES) -> tuple[Found | None, bool]:
    """The nearest way round for ever that avoids some places, with the way to it, for a flow without parallel branches.

    Counters are part of where a path stands: a way that is open only once a bound is used up is taken only then, and
    one that uses a bound up is not taken for ever. Also whether all states were looked at: no more than ``limit`` are.
    """
    import networkx as nx

    start = (flow.start, (0,) * len(flow.limits))
    parents: dict[Any, Any] = {}
    following: Any = nx.DiGraph()
    queue: deque[tuple[Any, Any]] = deque([(start, None)] if flow.start not in avoid else [])
    while queue:
        state, parent = queue.popleft()
        if state in parents:
            continue
        if len(parents) >= limit:
            return None, False
        parents[state] = parent
        for step in flow.steps(state[0]):
            spent = spend(flow, step, state[1])
            if spent is not None and step.target not in avoid:
                entry = (step.target, spent)
                following.add_edge(state, entry)
                (queue.appendleft if step.target in flow.hidden else queue.append)((entry, state))
    cyclic = {state: part for part in cyclic_parts(following) for state in part}
    nearest = next((state for state in parents if state in cyclic), None)
    if nearest is None:
        return None, True
    inside = following.subgraph(cyclic[nearest])
    after = min((nx.shortest_path(inside, state, nearest) for state in inside[nearest]), key=len)
    return Found(tuple(state[0] for state in (*trace(parents, nearest), *after))), True


def spend(flow: Flow[N], step: Step[N], counts: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The counters after a step, or None where it cannot be taken (or nothing is counted)."""
    if counts is None:
        return None
    after = counts
    if step.counter is not None:
        left = flow.limits[step.counter] - counts[step.counter]
        if (left > 0) == step.exhausted:
            return None
        if not step.exhausted:
            after = (*counts[: step.counter], counts[step.counter] + 1, *counts[step.counter + 1 :])
    if step.target in flow.resets:
        anew = flow.resets[step.target]
        after = tuple(0 if number in anew else count for number, count in enumerate(after))
    return after


def within_bounds(flow: Flow[N], path: tuple[N, ...], ends: Ends[N], phase: int) -> bool:
    """Whether a path can be walked as it is with its counters."""
    standing = {(0,) * len(flow.limits)}
    for here, there in pairwise(path):
        steps = [step for step in flow.steps(here) if step.target == there]
        spent = {spend(flow, step, counts) for step in steps for counts in standing}
        standing = {counts for counts in spent if counts is not None}
    return any(ends(path[-1], phase, counts) for counts in standing)


def shortest(flow: Flow[N], automaton: Automaton[N], ends: Ends[N]) -> Found | None:
    """The shortest path that ends as ``ends`` says and, where no branches run in parallel, keeps within every bound.

    First without counters, in linear time: what is not found so is not there, and what is found and can be walked is
    the shortest. Only otherwise with them. Parallel branches share the counters, so that none of them can be held
    to a number of rounds of its own: there, every step is taken to be possible.
    """
    loose = search(flow, automaton, ends, counted=False)
    if loose is None or not flow.limits:
        return loose and Found(loose.path)
    phase = 0
    for place in loose.path:
        phase = automaton(phase, place) or 0
    if within_bounds(flow, loose.path, ends, phase):
        return Found(loose.path)
    if flow.forks():
        return Found(loose.path, False)
    return search(flow, automaton, ends, counted=True)
