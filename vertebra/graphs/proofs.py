"""Claims about every path of a graph: proved, or refuted by the shortest path that breaks them.

What a path is, and by which theory it is looked for, ``flow`` says. Each claim is about one path, and where two nodes
may run in parallel, about either order of them. What cannot be decided (parallel branches share the bound of a cycle;
a product is too large) is not proved: then the path that is shown may break a bound, and the proof says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vertebra.errors import UsageError
from vertebra.graphs.bounding import bounds
from vertebra.graphs.claims import Claim
from vertebra.graphs.definition import Definition
from vertebra.graphs.flattening import Flattened, Place, flatten
from vertebra.graphs.flow import Flow, length
from vertebra.graphs.parallel import apart
from vertebra.graphs.paths import Found, derivation, lasso, search, shortest, within_bounds
from vertebra.graphs.topology import cyclic_parts
from vertebra.types import END, START

if TYPE_CHECKING:
    from vertebra.graphs.pictures import Picture
    from vertebra.graphs.pictures.palette import Theme

SHOWN = 24
"""Of a longer path the middle is left out where it is printed."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer to a claim: true if it holds for every path of the graph, else false with the shortest that breaks it.

    ``counterexample``: the path as names of nodes (``outer/inner`` within a subgraph), None if the claim holds.
    ``note``: what there is to know about that path. Repeatable: the same graph gives the same answer.
    """

    claim: str
    holds: bool
    counterexample: tuple[str, ...] | None = None
    note: str = ""
    sketch: Any = field(default=None, repr=False, compare=False)
    """The graph, to be drawn."""

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        if self.counterexample is None:
            return f"proved: {self.claim}."
        return f"not proved: {self.claim}. Counter-example: {self.path}{f' ({self.note})' if self.note else ''}."

    def __repr__(self) -> str:
        return f"<Proof {self}>"

    def draw(self, *, depth: int = 1, theme: Theme = "auto") -> Picture:
        """The graph, with the counter-example in red if there is one. Raises ``UsageError``."""
        from vertebra.graphs.pictures import Picture
        from vertebra.graphs.pictures.marking import with_path
        from vertebra.graphs.pictures.sketch import folded

        if self.sketch is None:
            raise UsageError("This proof does not know its graph.", remedy="draw what graph.prove(...) returned.")
        told = f"{'proved' if self.holds else 'not proved'}: {self.claim}"
        sketch = replace(self.sketch, caption=(told,))
        if self.counterexample is not None:
            sketch = with_path(sketch, self.counterexample, self.note)
        return Picture(folded(sketch, depth), theme=theme)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        shown, details = self.draw()._repr_mimebundle_(include, exclude)
        return {**shown, "text/plain": f"{self}\n\n{shown['text/plain']}"}, details

    @property
    def path(self) -> str:
        """The counter-example in one line."""
        names = list(self.counterexample or ())
        if len(names) > SHOWN:
            names[SHOWN // 2 : -SHOWN // 2] = [f"... {len(names) - SHOWN} more ..."]
        return " -> ".join(names)


def prove(definition: Definition, claim: Claim) -> Proof:
    """Decide a claim. Raises ``UsageError`` for a node that the graph does not have."""
    graph = flatten(definition)
    names = tuple({"END": END, "START": START}.get(name, name) for name in claim.nodes)
    for name in names:
        if name not in graph.names:
            near = difflib.get_close_matches(name, graph.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "a node of a subgraph is 'outer/inner'."
            raise UsageError(f"The graph has no node {name!r} to prove something of.", remedy=hint)
    found, notes = _DECIDERS[claim.kind](graph, claim, *names)
    if found is None:
        return Proof(str(claim), True)
    if claim.kind == "at_most" and graph.flow.forks() and bounds(definition).visits[names[0]] <= claim.times:
        return Proof(str(claim), True)
    path = found.path
    failed = [place.name for place in path if place.what == "failed"]
    notes += [f"{name} fails and another stands in for it" for name in dict.fromkeys(failed)]
    if not found.exact:
        notes.append("the bounds of cycles were left out of account")
    shown = tuple(_shown(place.name) for place in path if place not in graph.flow.hidden)
    return Proof(str(claim), False, shown, "; ".join(notes))


def _shown(name: str) -> str:
    return {END: "END", START: "START"}.get(name, name)


Answer = tuple[Found | None, list[str]]


def _before(graph: Flattened, claim: Claim, first: str, then: str) -> Answer:
    """Dominance: ``then`` is out of reach without ``first``."""
    avoid, goals = graph.done(first), graph.visits(then)
    flow = graph.flow
    if flow.start in avoid:
        return None, []
    path = derivation(flow, goals, avoid)
    if path is None:
        return None, []
    if within_bounds(flow, path, _at_phase(0), 0) or not flow.limits:
        return Found(path), []
    if flow.forks():
        return Found(path, False), []
    automaton = _watch(lambda phase, place: None if place in avoid else int(place in goals))
    return shortest(flow, automaton, _at_phase(1)), []


def _never(graph: Flattened, claim: Claim, never: str, after: str) -> Answer:
    """No path on from one, and no branch beside it, leads to the other."""
    late, early = graph.visits(never), graph.visits(after)
    one = shortest(graph.flow, _two(early, late, set()), _at_phase(2))
    return _shorter(graph, one, _beside(graph, never, after) or apart(graph.flow, early, late))


def _between(graph: Flattened, claim: Claim, middle: str, first: str, last: str) -> Answer:
    """The same without passing the middle, after the first of the two."""
    early, late, between = graph.visits(first), graph.visits(last), graph.done(middle)
    one = shortest(graph.flow, _two(early, late, between), _at_phase(2))
    return _shorter(graph, one, _beside(graph, last, first) or apart(graph.flow, early, late, without=between))


def _at_most(graph: Flattened, claim: Claim, node: str) -> Answer:
    """A path that counts its visits; in parallel branches, each path to it counts."""
    visits, times = graph.visits(node), claim.times
    count = _watch(lambda phase, place: min(phase + (place in visits), times + 1))
    one = shortest(graph.flow, count, _at_phase(times + 1))
    if one is not None or times == 0:
        return one, []
    other = _beside(graph, node, node)
    if other is not None:
        return other, [f"{node} runs once for each item of a fan-out"]
    beside = apart(graph.flow, visits, visits)
    return (None, []) if beside is None else (beside, ["parallel branches lead to it, and each may run it"])


def _eventually(graph: Flattened, claim: Claim, node: str) -> Answer:
    """No path ends, waits or goes round for ever without it."""
    flow, goals = graph.flow, graph.done(node)
    ways = {*flow.groups, *flow.joins_from}

    def ends(place: Place, phase: int, counts: tuple[int, ...] | None) -> bool:
        spent = any(counts is None or counts[k] >= flow.limits[k] for k in flow.stops.get(place, ()))
        return place not in ways or place in graph.starving or spent

    avoiding = _watch(lambda phase, place: None if place in goals else 0)
    one, other = shortest(flow, avoiding, ends), _endless(graph, goals)
    if other is not None and (one is None or length(flow, other.path) < length(flow, one.path)):
        return other, ["round for ever"]
    if one is None:
        return None, []
    last: Any = one.path[-1]
    if last in graph.starving and last.name != END:
        return one, [f"a join waits after {last.name} for what another route leaves out"]
    if last in flow.stops:
        return one, [f"the bound of the cycle at {last.name} is used up, and it has no on_exhausted"]
    return one, []


def _endless(graph: Flattened, goals: Collection[Place]) -> Found | None:
    """The nearest cycle that can be gone round for ever and avoids ``goals``, with the way to it.

    One pass finds what steps without a counter, or after a bound is used up, go round. Whether those bounds can be used
    up, or begin anew on the way round, only the product with the counters tells; it is made where that matters.
    """
    flow = graph.flow
    loose = _free_cycle(flow, goals)
    exhausted = any(step.exhausted for groups in flow.groups.values() for group in groups for step in group)
    if not (exhausted and loose is not None) and not (flow.resets and _renewed(flow, goals)):
        return loose
    if flow.forks():
        return loose and Found(loose.path, False)
    exact, whole = lasso(flow, goals)
    return exact if whole else loose and Found(loose.path, False)


def _renewed(flow: Flow[Place], goals: Collection[Place]) -> bool:
    """Whether some cycle that avoids ``goals`` leads through a place where counters begin anew."""
    import networkx as nx

    free: Any = nx.DiGraph()
    for place in {*flow.groups, *flow.joins_from} - set(goals):
        free.add_edges_from((place, step.target) for step in flow.steps(place) if step.target not in goals)
    return any(place in flow.resets for part in cyclic_parts(free) for place in part)


def _free_cycle(flow: Flow[Place], goals: Collection[Place]) -> Found | None:
    import networkx as nx

    if flow.start in goals:
        return None
    free: Any = nx.DiGraph()
    for place in {*flow.groups, *flow.joins_from} - set(goals):
        targets = (step.target for step in flow.steps(place) if step.counter is None or step.exhausted)
        free.add_edges_from((place, target) for target in targets if target not in goals)
    parts = cyclic_parts(free)
    cyclic = {place for part in parts for place in part}
    if not cyclic:
        return None
    avoiding = _watch(lambda phase, place: None if place in goals else 0)
    to = search(flow, avoiding, lambda place, phase, counts: place in cyclic, counted=False)
    if to is None:
        return None
    entry = to.path[-1]
    (part,) = [part for part in parts if entry in part]
    after = min((nx.shortest_path(free.subgraph(part), s, entry) for s in free[entry] if s in part), key=len)
    return Found((*to.path, *after))


def _shorter(graph: Flattened, one: Found | None, other: Found | None) -> Answer:
    if other is not None and (one is None or length(graph.flow, other.path) < length(graph.flow, one.path)):
        return other, ["on branches that run in parallel"]
    return one, []


def _beside(graph: Flattened, one: str, other: str) -> Found | None:
    """A way to two nodes, perhaps the same, of which one item of a fan-out may run one while another runs the other."""
    for worker in graph.spread:
        inside = (f"{worker}/", f"{worker}")
        if all(name == worker or name.startswith(inside[0]) for name in (one, other)):
            path = derivation(graph.flow, graph.visits(other))
            again = derivation(graph.flow, graph.visits(one))
            if path is not None and again is not None:
                return Found((*path, *again[-1:]))
    return None


def _watch(advance: Callable[[int, Any], int | None]) -> Callable[[int, Any], int | None]:
    return advance


def _two(first: set[Place], then: set[Place], between: set[Place]) -> Callable[[int, Any], int | None]:
    """Phase 1 after ``first``, back to 0 at ``between``, 2 at ``then`` while in phase 1."""

    def advance(phase: int, place: Place) -> int:
        if phase == 1 and place in then:
            return 2
        if place in first:
            return 1
        return 0 if place in between else phase

    return advance


def _at_phase(wanted: int) -> Callable[[Any, int, Any], bool]:
    return lambda place, phase, counts: phase == wanted


_DECIDERS: dict[str, Callable[..., Answer]] = {
    "before": _before,
    "between": _between,
    "never": _never,
    "at_most": _at_most,
    "eventually": _eventually,
}
