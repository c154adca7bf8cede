"""The crash campaign, short form: killed at every named crash point and at random instants, recovered by another.

What must hold each time is in ``verdict``; the long form is ``make campaign``.
"""

from __future__ import annotations

import pytest

from tests.campaigns.killing import Killer, Unkilled
from tests.campaigns.plan import at_instants, passings
from tests.servers.preloaded import AtPoint, Crash
from vertebra.ports import KEEPING_CRASH_POINTS
from vertebra.testing import CRASH_POINTS

CHUNKS, INSTANTS = 4, 4


@pytest.fixture(params=["sqlite", "postgres"])
def field(request: pytest.FixtureRequest) -> tuple[Killer, Unkilled]:
    """Where to kill, and what to compare with."""
    found: tuple[Killer, Unkilled] = request.getfixturevalue(f"{request.param}_killer")
    return found


def test_the_reference_graph_passes_every_crash_point(field: tuple[Killer, Unkilled]) -> None:
    assert set(field[1].passed) - set(KEEPING_CRASH_POINTS) == set(CRASH_POINTS)


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_killed_at_a_crash_point(field: tuple[Killer, Unkilled], point: str) -> None:
    killer, unkilled = field
    last = passings(point, unkilled.passed)
    for crash in (AtPoint(point, 1, "kill"), AtPoint(point, last // 2 + 1, "exit")):
        assert killer.kill(unkilled, crash).deaths == 1, f"{crash} was never reached"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_killed_at_random_instants(field: tuple[Killer, Unkilled], chunk: int) -> None:
    killer, unkilled = field
    for crash in at_instants(f"instants {chunk}", INSTANTS):
        killer.kill(unkilled, crash)


@pytest.mark.parametrize("points", [("call.received", "call.received"), ("writes.before", "call.sent", "effect.done")])
def test_killed_while_it_recovers(field: tuple[Killer, Unkilled], points: tuple[str, ...]) -> None:
    killer, unkilled = field
    assert killer.kill(unkilled, *(AtPoint(point, 2, "kill") for point in points)).deaths == len(points)


def test_no_checkpoint_overtakes_the_writes_that_it_follows(sqlite_killer: tuple[Killer, Unkilled]) -> None:
    killer, unkilled = sqlite_killer
    for nth in range(2, unkilled.passed["checkpoint.after"] + 1, 3):
        assert killer.kill(unkilled, AtPoint("checkpoint.after", nth, "kill"), slow_writes=True).deaths == 1


@pytest.mark.parametrize("crash", [None, AtPoint("checkpoint.after", 1, "kill")], ids=["drained", "killed"])
def test_a_fresh_process_for_every_superstep(field: tuple[Killer, Unkilled], crash: Crash | None) -> None:
    killer, unkilled = field
    outcome = killer.every_superstep(unkilled, crash)
    # Ten supersteps, the question among them, and the checkpoints of input and subgraph.
    assert outcome.processes >= 11
    assert outcome.figures.lost == 0
