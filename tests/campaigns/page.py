"""The page of figures that a campaign writes: ``docs/campaign.md``. Pure, but for the versions it names."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from textwrap import fill

from tests.campaigns import twin
from tests.campaigns.campaign import EVERY, INSTANT, STORES, TWICE
from tests.campaigns.schedules import Played
from tests.campaigns.tally import Results, Tally
from vertebra.testing import CRASH_POINTS

WIDTH = 118
SHARED = (*twin.POINTS, INSTANT)
"""Where both Vertebra and its twin are killed."""


def page(results: Results, played: Sequence[Played]) -> str:
    """The whole page, as Markdown."""
    total = results.over(STORES)
    return "\n".join(
        [
            "# The crash campaign",
            "",
            "Written by `make campaign`; every figure on this page was counted in that run.",
            "",
            f"**{total.deaths:,} kills** of {total.runs:,} runs ({total.processes:,} processes); with LangGraph's "
            f"{results.seconds:,.0f} s on {os.cpu_count()} cores.",
            f"Runs that broke a promise: **{len(results.failures)}**. "
            f"Recorded calls paid again: **{total.figures.paid_again}**.",
            "",
            _method(),
            "",
            "## By store",
            "",
            *_table("store", [(place, results.over([place])) for place in STORES]),
            "",
            _lost(),
            "",
            "## By where it was killed",
            "",
            *_table(
                "killed at", [(kind, results.over(STORES, [kind])) for kind in (*CRASH_POINTS, INSTANT, TWICE, EVERY)]
            ),
            "",
            "## Beside the same graph in plain LangGraph",
            "",
            *_beside(results),
            "",
            "## Schedules",
            "",
            *_schedules(played),
            "",
            f"Python {platform.python_version()}, langgraph {version('langgraph')}, openai {version('openai')}, "
            f"{platform.system()} {platform.machine()}.",
            "",
        ]
    )


def _method() -> str:
    return _paragraph(
        """
        The graph (`tests/campaigns/reference.py`) has a fan-out, a gather of four unequal and two equal calls, a
        subgraph with calls and an effect of its own, a loop around a sync node that streams, an answer that is
        sampled anew, a question to a person, and an effect whose confirmation is lost. Its 17 model calls go over
        HTTP to a scripted model that never gives the same answer twice and keeps the books. A process, forked from
        a parent that has imported everything, drives the run and is killed, by SIGKILL and by `os._exit` in turn;
        another recovers it, answers the question and ends it. Each time it is then checked
        (`tests/campaigns/verdict.py`) that the end is that of a run nobody killed and is made of exactly the
        answers on record, that no recorded call was paid again, that what was paid twice was under way at a death
        and is counted, that each effect kept its idempotency key on every attempt, that each node found the
        checkpoint before it durable when it started, and that no checkpoint was left behind without the writes it
        follows.
        """
    )


def _lost() -> str:
    return _paragraph(
        """
        *Counted as lost*: calls that had been begun and not recorded when the process died. Whether the provider
        had answered, nobody can know who was killed; the model's books tell for how many it had (*of these paid*).
        They are asked again under the same `Idempotency-Key`.
        """
    )


def _table(title: str, rows: Iterable[tuple[str, Tally]]) -> list[str]:
    heads = (
        *(title, "runs", "kills", "calls recorded", "of these before the last kill", "paid again"),
        *("counted as lost", "of these paid", "effects repeated, same key"),
    )
    body = []
    for name, tally in rows:
        f = tally.figures
        cells = (tally.runs, tally.deaths, f.recorded, f.survived, f.paid_again, f.lost, f.lost_and_paid)
        body.append((name, *(f"{cell:,}" for cell in (*cells, f.effects_repeated))))
    return _rows(heads, body)


def _beside(results: Results) -> list[str]:
    rows = [
        ("Vertebra, SQLite", results.over(["SQLite"], SHARED), "yes"),
        ("LangGraph, `durability='sync'`", results.over(["sync"]), "no"),
        ("LangGraph, `durability='async'`, its default", results.over(["async"]), "no"),
    ]
    heads = (
        "",
        "kills",
        "calls paid beyond the ideal",
        "a kill",
        "at worst",
        "other ends",
        "effects repeated",
        "with a key",
    )
    body = [
        (
            *(name, f"{t.deaths:,}", f"{t.beyond:,}", f"{t.beyond / max(1, t.deaths):.2f}", f"{t.worst:,}"),
            *(f"{t.other_ends:,}", f"{t.figures.effects_repeated:,}", keyed),
        )
        for name, t, keyed in rows
    ]
    points = ", ".join(f"`{point}`" for point in twin.POINTS)
    return [
        _paragraph(
            f"""
            The same bodies of nodes with the plain `openai` client on `AsyncSqliteSaver`, killed at points of the
            same names in its saver and nodes ({points}) and at random instants, then resumed with `None` as input
            (`tests/campaigns/twin.py`). The ideal is what a run pays that nobody kills: 17 calls. *Other ends*:
            runs that ended in another state, or not at all.
            """
        ),
        "",
        *_rows(heads, body),
        "",
        "What Vertebra pays beyond the ideal are calls that were on their way at the kill.",
    ]


def _schedules(played: Sequence[Played]) -> list[str]:
    lost = sum(one.figures.lost for one in played)
    paid = sum(one.figures.lost_and_paid for one in played)
    again = sum(one.figures.paid_again for one in played)
    orders = len({tuple(one.trace) for one in played})
    return [
        _paragraph(
            f"""
            {len(played):,} numbered schedules on a virtual clock, in one process (`memory://`, the model in
            process): a seed shuffles the ready tasks and stops the run once or twice, anywhere, as a kill would or
            as a caller that cancels ({sum(one.stops for one in played):,} stops). Requests reached the model in
            {orders:,} orders. No call got the answer of another: its node would have said so, and the run would not
            be counted here. Recorded calls paid again: {again}. Counted as lost: {lost:,}, of these paid: {paid:,}.
            A schedule is played again by `python -m tests.campaigns.schedules NUMBER`.
            """
        )
    ]


def _paragraph(text: str) -> str:
    return fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def _rows(heads: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in heads[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *body)]
