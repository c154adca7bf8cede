"""The campaigns in their long form, for ``make campaign``: they print their progress and write ``docs/campaign.md``.

CAMPAIGN_KILLS (2000) and CAMPAIGN_SCHEDULES (1000) in the environment make them shorter or longer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.campaigns.campaign import run_campaign
from tests.campaigns.page import page
from tests.campaigns.schedules import Played, Schedules

KILLS = int(os.environ.get("CAMPAIGN_KILLS", "2000"))
SCHEDULES = int(os.environ.get("CAMPAIGN_SCHEDULES", "1000"))
PAGE = Path(__file__).parents[2] / "docs" / "campaign.md"


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


@pytest.mark.campaign
def test_the_long_form(postgres_server: str, tmp_path: Path) -> None:
    results = run_campaign(postgres_server, KILLS, say)
    schedules = Schedules(tmp_path)
    played: list[Played] = []
    for number in range(SCHEDULES):
        try:
            played.append(schedules.play(number))
        except AssertionError as error:
            results.failures.append(str(error))
            say(f"FAILED {error}")
        if (number + 1) % 100 == 0:
            say(f"{number + 1}/{SCHEDULES} schedules")
    PAGE.write_text(page(results, played))
    say(f"Written: {PAGE.relative_to(PAGE.parents[1])}")
    assert not results.failures
