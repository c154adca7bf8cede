"""A graph as the paths through it: places, the steps between them, what is taken together and what instead.

Generic over ids; what a place stands for only ``flattening`` knows. The theory:

* A **path** follows one branch: from the start, each place is entered by a step from the one before. Where branches
  run in parallel a run is several paths, and nothing but a join is taken to order one before the other: any branch may
  be as slow as it likes. LangGraph's supersteps are one of the orders that this allows, so that what holds here holds
  there; a claim that is true only since two branches happen to be equally long does not hold here.
* Which places come before which is reachability in an and-or graph: a place needs one of its steps, a join all of its
  sources (W. Dowling, J. Gallier, "Linear-time algorithms for testing the satisfiability of propositional Horn
  formulae", J. Logic Programming 3, 1984). Without joins, that is dominance (T. Lengauer, R. Tarjan, "A fast algorithm
  for finding dominators in a flowgraph", TOPLAS 1(1), 1979): ``a`` dominates ``b`` if ``b`` is out of reach without it.
* Other claims are automata that watch the places of a path, and are searched for in the product of graph and
  automaton; the bounds of cycles are counters in that product (C. Baier, J.-P. Katoen, "Principles of Model Checking",
  2008, chapters 2 and 4). It is searched only where the path without counters breaks a bound.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

N = TypeVar("N", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Step(Generic[N]):
    """A way from one place to the next. With a ``counter`` it uses up a bound, or waits until that is used up."""

    target: N
    counter: int | None = None
    exhausted: bool = False


Group = tuple[Step[N], ...]
"""Steps of which one is taken."""


@dataclass
class Flow(Generic[N]):
    """The paths of a graph. All groups of a place are taken together."""

    start: N
    groups: dict[N, list[Group[N]]] = field(default_factory=dict)
    joins: list[tuple[frozenset[N], N]] = field(default_factory=list)
    """A join's target is entered when all of its sources have been."""
    limits: list[int] = field(default_factory=list)
    """How often the steps of each counter are taken, at most."""
    resets: dict[N, list[int]] = field(default_factory=dict)
    """Counters that begin anew at a place."""
    stops: dict[N, list[int]] = field(default_factory=dict)
    """Counters that, used up, end the run at a place."""
    several: set[N] = field(default_factory=set)
    """Places of whose groups more than one step may be taken."""
    hidden: set[N] = field(default_factory=set)
    """Places that are no visit of a node: they make a path no longer."""

    def steps(self, place: N) -> Iterator[Step[N]]:
        """Every step from a place, those into joins too."""
        for group in self.groups.get(place, ()):
            yield from group
        for number in self.joins_from.get(place, ()):
            yield Step(self.joins[number][1])

    @property
    def joins_from(self) -> dict[N, list[int]]:
        if self._joins_from is None:
            self._joins_from = {}
            for number, (sources, _) in enumerate(self.joins):
                for source in sources:
                    self._joins_from.setdefault(source, []).append(number)
        return self._joins_from

    _joins_from: dict[N, list[int]] | None = field(default=None, repr=False)

    def branches(self, place: N) -> list[list[Step[N]]]:
        """The steps from a place, a list for each of the branches that run in parallel after it."""
        found = [list(group) for group in self.groups.get(place, ())]
        if place in self.several:
            found = [[step] for group in found for step in group]
        targets = dict.fromkeys(self.joins[number][1] for number in self.joins_from.get(place, ()))
        # The places of one join's target are alternatives; they share the number of their sources.
        return [*found, *([[Step(target) for target in targets]] if targets else [])]

    def forks(self) -> list[N]:
        """The places after which branches run in parallel."""
        places = dict.fromkeys([*self.groups, *self.joins_from])
        return [place for place in places if len(self.branches(place)) > 1]


def backwards(flow: Flow[N], goals: Collection[N]) -> set[N]:
    """All places from which one of ``goals`` can be reached, themselves included."""
    before: dict[N, list[N]] = {}
    for place in [*flow.groups, *flow.joins_from]:
        for step in flow.steps(place):
            before.setdefault(step.target, []).append(place)
    seen, stack = set(goals), list(goals)
    while stack:
        for place in before.get(stack.pop(), ()):
            if place not in seen:
                seen.add(place)
                stack.append(place)
    return seen


def length(flow: Flow[N], path: Sequence[N]) -> int:
    """How many visits a path has."""
    return sum(place not in flow.hidden for place in path)
