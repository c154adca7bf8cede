"""Which kills a campaign makes: at every crash point, spread over its passings, and at seeded instants. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from random import Random

from tests.servers.preloaded import AtInstant, AtPoint, Crash
from vertebra.testing.crash import How

HOWS: tuple[How, How] = ("kill", "exit")


def passings(point: str, passed: Mapping[str, int]) -> int:
    """How often a point is sure to be passed: a stream may arrive in fewer pieces the next time."""
    return min(passed[point], 2) if point == "call.streaming" else passed[point]


def at_points(points: Sequence[str], passed: Mapping[str, int], count: int) -> Iterator[Crash]:
    """``count`` kills, each point as often as the others, its passings from the first to the last in turn."""
    turns = {point: cycle(range(1, passings(point, passed) + 1)) for point in points}
    hows = {point: cycle(HOWS if number % 2 else HOWS[::-1]) for number, point in enumerate(points)}
    for point in islice(cycle(points), count):
        yield AtPoint(point, next(turns[point]), next(hows[point]))


def at_instants(seed: str, count: int) -> Iterator[Crash]:
    """``count`` kills at instants drawn evenly over a run's duration, whatever that is when their turn comes."""
    random = Random(seed)
    for number in range(count):
        yield AtInstant(random.uniform(0.0, 1.0), HOWS[number % 2])
