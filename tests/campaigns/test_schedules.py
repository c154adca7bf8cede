"""The schedule campaign: under no order of tasks, and stopped anywhere, does a call get the answer of another.

The first of the thousand schedules that ``make campaign`` plays.
"""

from __future__ import annotations

import pytest

from tests.campaigns.schedules import Schedules

SCHEDULES, CHUNKS = 200, 5


@pytest.fixture(scope="session")
def schedules(tmp_path_factory: pytest.TempPathFactory) -> Schedules:
    return Schedules(tmp_path_factory.mktemp("schedules"))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_stopped_anywhere_under_any_schedule(schedules: Schedules, chunk: int) -> None:
    played = [schedules.play(number) for number in range(chunk, SCHEDULES, CHUNKS)]
    assert sum(one.stops for one in played) > len(played) * 0.9, "most schedules are to be stopped"
    # Teeth: some stops did fall between a question and the record of its answer, and some orders did differ.
    assert any(one.figures.lost for one in played)
    assert len({tuple(one.trace) for one in played}) > len(played) / 2


def test_a_schedule_is_the_same_whenever_it_is_played(schedules: Schedules) -> None:
    for number in range(5):
        assert schedules.play(number) == schedules.play(number)
