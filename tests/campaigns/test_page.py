"""The page of figures, from figures made up here."""

from __future__ import annotations

from tests.campaigns.killing import Outcome
from tests.campaigns.page import page
from tests.campaigns.schedules import Played
from tests.campaigns.tally import Results, tally_of
from tests.campaigns.verdict import Figures


def test_the_page_adds_up_what_was_counted() -> None:
    results = Results(seconds=61.0)
    figures = Figures(recorded=17, survived=11, paid=19, lost=3, lost_and_paid=2)
    for place in ("SQLite", "SQLite", "Postgres"):
        results.add(place, "node.started", tally_of(Outcome(1, 2, figures), ideal=17))
    results.add("async", "node.started", tally_of(Outcome(1, 2, Figures(paid=26), is_same_end=False), ideal=17))
    lines = page(results, [Played(1, Figures(lost=1), [("a", "b")])]).splitlines()
    assert "**3 kills** of 3 runs (6 processes); with LangGraph's 61 s on" in lines[4]
    assert "| SQLite | 2 | 2 | 34 | 22 | 0 | 6 | 4 | 0 |" in lines
    assert "| node.started | 3 | 3 | 51 | 33 | 0 | 9 | 6 | 0 |" in lines
    assert "| Vertebra, SQLite | 2 | 4 | 2.00 | 2 | 0 | 0 | yes |" in lines
    assert "| LangGraph, `durability='async'`, its default | 1 | 9 | 9.00 | 9 | 1 | 0 | no |" in lines
    assert max(map(len, (line for line in lines if not line.startswith("|")))) <= 120
