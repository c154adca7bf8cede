"""Growing channels are stored in pieces once on Postgres, too, and what is loaded is what was put."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from tests.checkpointers.postgres.parts import EVERYTHING, PIECES, number
from tests.checkpointers.sqlite.parts import Line, at, values_of
from tests.checkpointers.sqlite.test_graphs import graph, told
from tests.checkpointers.sqlite.test_pieces import CHANGES, GROWTHS, changed, text
from tests.servers import postgres
from vertebra.checkpointers.postgres import PostgresCheckpointer
from vertebra.errors import StoreCorrupt, UsageError


@pytest.mark.parametrize("kind", GROWTHS)
def test_growth_is_linear_whichever_process_adds_and_each_state_is_read(kind: str, postgres_url: str) -> None:
    value, states, sizes = None, [], []
    for turn in range(4):
        with PostgresCheckpointer(postgres_url) as saver:
            line = Line(saver)
            if turn:
                found = saver.get_tuple(at())
                assert found is not None
                value, line.versions = found.checkpoint["channel_values"]["log"], found.checkpoint["channel_versions"]
                line.config = found.config
            for n in range(turn * 40, turn * 40 + 40):
                value = GROWTHS[kind](value, n)
                line.put({"log": value, "n": n})
                if n % 33 == 32:
                    states.append((line.config, copy.deepcopy(value)))
        sizes.append(number(postgres_url, EVERYTHING))
    assert sizes[-1] < 160 * 3000  # once alone, once joined with its neighbours, and what refers to it
    assert sizes[-1] < 2.3 * sizes[-3]  # of 160 beside 80; 4 if it were quadratic
    with PostgresCheckpointer(postgres_url) as saver:
        for config, state in states:
            assert values_of(saver, config)["log"] == state


def test_a_graph_sees_on_it_what_it_sees_in_memory(postgres_url: str) -> None:
    expected = told(InMemorySaver(), 23)
    with PostgresCheckpointer(postgres_url) as saver:
        assert told(saver, 23) == expected
    with PostgresCheckpointer(postgres_url) as saver:  # what is read is what was durable
        found = list(graph(23).compile(checkpointer=saver).get_state_history(at()))
        assert [s.values for s in found] == [values for values, *_ in expected]
    assert number(postgres_url, PIECES) > 0


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability_of_the_engine(postgres_url: str, durability: Any) -> None:
    async def drive(saver: PostgresCheckpointer) -> None:
        compiled = graph(9).compile(checkpointer=saver)
        await compiled.ainvoke({"log": []}, {**at(), "recursion_limit": 50}, durability=durability)
        state = await compiled.aget_state(at())
        assert state.values["log"] == [f"step {n}" for n in range(9)]
        assert state.values["delta"] == [f"delta {n}" for n in range(9)]
        assert len([state async for state in compiled.aget_state_history(at())]) == len(list(saver.list(at())))

    with PostgresCheckpointer(postgres_url) as saver:
        asyncio.run(drive(saver))


def test_forks_share_what_they_have_in_common_and_nothing_else(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        trunk = Line(saver)
        log = [text(n) for n in range(100)]
        trunk.put({"log": log, "owner": "trunk"})
        branches = [Line(saver) for _ in range(3)]
        for n, branch in enumerate(branches):
            branch.config, branch.versions = trunk.config, dict(trunk.versions)
            branch.put({"log": [*log, text(1000 + n)], "owner": "trunk"}, "log")
        for n, branch in enumerate(branches):  # in turn, so that none is the last
            branch.put({"log": [*log, text(1000 + n)], "owner": f"branch {n}"}, "owner")
        for n, branch in enumerate(branches):
            assert branch.values() == {"log": [*log, text(1000 + n)], "owner": f"branch {n}"}
        assert trunk.values() == {"log": log, "owner": "trunk"}
    assert number(postgres_url, PIECES) < 110 * 2300


def test_an_item_that_was_changed_in_place_is_stored_as_it_is_now(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        line = Line(saver)
        log: list[Any] = [{"n": n, "text": text(n)} for n in range(70)]
        log += [AIMessage("said", id="m"), [1, 2], text(7)]
        before = line.put({"log": log})
        old = copy.deepcopy(log)
        log[3]["text"] = "changed"
        log[70].content = "said otherwise"
        log[71].append(3)
        line.put({"log": [*log, "new"]})
        assert line.values()["log"] == [*log, "new"]
        assert values_of(saver, before)["log"] == old


def test_a_write_is_what_it_was_when_it_was_handed_in(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        line = Line(saver)
        before = line.put({"v": 1})
        given: list[Any] = ["as it was"]
        saver.put_writes(before, [("v", given)], "task")
        given.append("changed afterwards")
        line.put({"v": 2})
        found = saver.get_tuple(before)
        assert found is not None
        assert found.pending_writes == [("task", "v", ["as it was"])]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_whatever_is_done_to_a_list_trusting_identity_loads_what_looking_at_all_loads(
    changes: list[tuple[str, Any]], postgres_server: str
) -> None:
    seen: dict[bool, list[Any]] = {}
    with postgres.fresh_database(postgres_server) as url:
        for trust in (True, False):
            saver = PostgresCheckpointer(url, trust_identity=trust)
            line, log, kept, seen[trust] = Line(saver, f"trust {trust}"), [], [], []
            for how, argument in copy.deepcopy(changes):
                if how == "reopen":
                    saver.close()
                    line.saver = saver = PostgresCheckpointer(url, trust_identity=trust)
                elif how == "fork" and kept:
                    line.config, past = kept[argument % len(kept)]
                    log = copy.deepcopy(past)
                log = changed(log, how, argument)
                line.put({"log": log})
                kept.append((line.config, copy.deepcopy(log)))
            for config, state in kept:
                found = values_of(saver, config)["log"]
                assert [(type(a), a) for a in found] == [(type(a), a) for a in state]
                seen[trust].append(found)
            saver.close()
    assert seen[True] == seen[False]


def test_a_missing_piece_is_said_and_not_left_out(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        Line(saver).put({"log": ["x" * 100, "y" * 100]})
        number(postgres_url, "WITH d AS (DELETE FROM vertebra_state_pieces RETURNING 1) SELECT count(*) FROM d")
        for read in (lambda: saver.get_tuple(at()), lambda: list(saver.list(at()))):
            with pytest.raises(StoreCorrupt, match="not in the data"):
                read()


def test_another_database_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="no Postgres database"):
        PostgresCheckpointer(f"sqlite:///{tmp_path}/a.db")
