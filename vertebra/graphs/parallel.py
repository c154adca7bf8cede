"""Which places of a flow may be visited in either order, since they are on branches that run in parallel."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import permutations

from vertebra.graphs.flow import Flow, N, Step, backwards
from vertebra.graphs.paths import Found, derivation, search

TRIED = 100
"""So many pairs of branches are tested for joins that hold them together; after that they are taken to be apart."""


def apart(
    flow: Flow[N], first: Collection[N], then: Collection[N], *, without: Collection[N] | None = None
) -> Found | None:
    """A visit of ``first`` on one branch and, after it, of ``then`` on another that was not needed for the first.

    The path lists the one branch, then the other from where they part. ``without``: nothing of it comes between
    the two. So it does not have to come at all, or all that the second needs has come before the first.
    """
    to_first, to_then = backwards(flow, first), backwards(flow, then)
    for tried, (fork, one, other) in enumerate(_pairs(flow, to_first, to_then), 1):
        free = tried > TRIED or derivation(flow, first, blocked={(fork, other.target)}) is not None
        if without is not None:
            free = (free and derivation(flow, then, without) is not None) or (
                derivation(flow, then, blocked={(fork, one.target)}) is not None
            )
        to_fork = derivation(flow, {fork})
        if free and to_fork is not None:
            return Found((*to_fork, *_down(flow, one.target, first), *_down(flow, other.target, then)), tried <= TRIED)
    return None


def _pairs(flow: Flow[N], to_first: set[N], to_then: set[N]) -> Iterator[tuple[N, Step[N], Step[N]]]:
    for fork in flow.forks():
        if fork not in to_first or fork not in to_then:
            continue
        for one, other in permutations(flow.branches(fork), 2):
            a = next((step for step in one if step.target in to_first), None)
            b = next((step for step in other if step.target in to_then), None)
            if a is not None and b is not None:
                yield fork, a, b


def _down(flow: Flow[N], origin: N, goals: Collection[N]) -> tuple[N, ...]:
    found = search(flow, lambda phase, place: 0, lambda place, *_: place in goals, counted=False, origin=origin)
    return found.path if found is not None else ()
