"""Growing channels are stored in pieces once; what is loaded is what was put, whatever was done to it in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from tests.checkpointers.sqlite.parts import Line, at, rows, stored_bytes, url_of, values_of
from vertebra.checkpointers.sqlite import SqliteCheckpointer


def text(number: int, size: int = 1000) -> str:
    return f"{number:08}" + "x" * (size - 8)


GROWTHS: dict[str, Callable[[Any, int], Any]] = {
    "strings": lambda value, n: [*(value or []), text(n)],
    "dicts in a list": lambda value, n: [*(value or []), {"n": n, "text": text(n)}],
    "messages": lambda value, n: [*(value or []), HumanMessage(text(n), id=str(n))],
    "a dict": lambda value, n: {**(value or {}), f"key{n}": text(n)},
    "a dict of lists": lambda value, n: {**(value or {}), f"key{n}": [text(n)]},
}


@pytest.mark.parametrize("kind", GROWTHS)
def test_growth_is_linear_and_each_state_is_read(kind: str, tmp_path: Path) -> None:
    value, states, sizes = None, [], []
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        line = Line(saver)
        for n in range(200):
            value = GROWTHS[kind](value, n)
            line.put({"log": value, "n": n})
            if n in (0, 31, 32, 99, 199):
                states.append((line.config, copy.deepcopy(value)))
                saver.flush()
                sizes.append(stored_bytes(tmp_path / "a.db"))
    assert sizes[-1] < 2.1 * sizes[-2]
    assert sizes[-1] < 200 * 2500  # once alone, and once joined with its neighbours
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        for config, state in states:
            assert values_of(saver, config)["log"] == state


@pytest.mark.parametrize("kind", GROWTHS)
def test_another_process_goes_on_without_storing_anything_again(kind: str, tmp_path: Path) -> None:
    value = None
    for turn in range(4):
        with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
            line = Line(saver)
            if turn:
                found = saver.get_tuple(at())
                assert found is not None
                value, line.versions = found.checkpoint["channel_values"]["log"], found.checkpoint["channel_versions"]
                line.config = found.config
            for n in range(turn * 40, turn * 40 + 40):
                value = GROWTHS[kind](value, n)
                line.put({"log": value})
    assert stored_bytes(tmp_path / "a.db") < 160 * 2500


def test_a_task_s_write_and_the_state_it_becomes_share_their_pieces(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        line, log = Line(saver), [text(0)]
        line.put({"log": log})
        saver.put_writes(line.config, [("log", [text(1)])], "task")
        line.put({"log": [*log, text(1)]})
    assert stored_bytes(tmp_path / "a.db") < 2 * 1100


def test_unchanged_channels_are_not_looked_at(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        line = Line(saver)
        for n in range(20):
            line.put({"n": n, "document": text(1, 50_000)}, *(["n", "document"] if n == 0 else ["n"]))
        assert line.values()["document"] == text(1, 50_000)
    assert stored_bytes(tmp_path / "a.db") < 60_000


def test_forks_share_what_they_have_in_common_and_nothing_else(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        trunk = Line(saver)
        log = [text(n) for n in range(100)]
        trunk.put({"log": log, "owner": "trunk"})
        branches = [Line(saver) for _ in range(3)]
        for number, branch in enumerate(branches):
            branch.config, branch.versions = trunk.config, dict(trunk.versions)
            branch.put({"log": [*log, text(1000 + number)], "owner": "trunk"}, "log")
        for number, branch in enumerate(branches):  # in turn, so that none is the last
            branch.put({"log": [*log, text(1000 + number)], "owner": f"branch {number}"}, "owner")
        for number, branch in enumerate(branches):
            assert branch.values() == {"log": [*log, text(1000 + number)], "owner": f"branch {number}"}
        assert trunk.values() == {"log": log, "owner": "trunk"}
    assert stored_bytes(tmp_path / "a.db") < 110 * 2300


def test_an_item_that_was_changed_in_place_is_stored_as_it_is_now(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
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


def test_items_that_are_equal_but_of_another_type_are_told_apart(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        line = Line(saver)
        for value in ([1] * 40, [True] * 40, [1.0] * 40, [b"1"] * 40, ["1"] * 40, [None] * 40):
            line.put({"v": value})
            found = line.values()["v"]
            assert [type(item) for item in found] == [type(item) for item in value]
            assert found == value


@pytest.mark.parametrize("value", [[], {}, [[]], {"": None}, {1: "a"}, [None], {1, 2}, "x" * 10_000_000, b"\0" * 10**7])
def test_values_of_odd_shapes(value: Any, tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        line = Line(saver)
        line.put({"v": value, "w": [value, value]})
        saver.put_writes(line.config, [("v", value)], "task")
        found = saver.get_tuple(line.config)
        assert found is not None
        assert found.checkpoint["channel_values"] == {"v": value, "w": [value, value]}
        assert found.pending_writes == [("task", "v", value)]
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        assert values_of(saver, at())["v"] == value


ITEMS = st.one_of(
    st.integers(-5, 5),
    st.none(),
    st.booleans(),
    st.sampled_from([text(n, 60) for n in range(6)]),
    st.just([1, "a"]),
    SAID := st.builds(lambda n: AIMessage(text(n, 60), response_metadata={"n": n}), st.integers(0, 3)),
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.one_of(st.lists(ITEMS, max_size=40), st.lists(SAID, max_size=40))),
        st.tuples(st.just("drop front"), st.integers(0, 50)),
        st.tuples(st.just("drop end"), st.integers(0, 50)),
        st.tuples(st.just("insert"), st.integers(0, 50)),
        st.tuples(st.just("mutate"), st.integers(0, 50)),
        st.tuples(st.just("fork"), st.integers(0, 50)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=25,
)


def changed(log: list[Any], how: str, argument: Any) -> list[Any]:
    if how == "append":
        return [*log, *argument]
    if how == "drop front":
        return log[argument:]
    if how == "drop end":
        return log[: len(log) - argument]
    if how == "insert":
        return [*log[:argument], AIMessage("inserted" * 10), *log[argument:]]
    if how == "mutate" and log and isinstance(item := log[argument % len(log)], list):
        item.append(text(argument, 80))
    elif how == "mutate" and log and isinstance(item, AIMessage):
        item.response_metadata["n"] = argument
        item.content = item.content[argument % 2 :]
    return log


@settings(max_examples=40, deadline=None)
@given(changes=CHANGES)
def test_whatever_is_done_to_a_list_trusting_identity_loads_what_looking_at_all_loads(
    changes: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("both")
    seen: dict[bool, list[Any]] = {}
    for trust in (True, False):
        path = folder / f"{trust}.db"
        saver = SqliteCheckpointer(url_of(path), trust_identity=trust)
        line, log, kept, seen[trust] = Line(saver), [], [], []
        for how, argument in copy.deepcopy(changes):
            if how == "reopen":
                saver.close()
                line.saver = saver = SqliteCheckpointer(url_of(path), trust_identity=trust)
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


def test_the_file_holds_each_item_once_alone_and_once_in_full_chunks(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        line, log = Line(saver), []
        for n in range(100):
            log = [*log, text(n)]
            line.put({"log": log})
    count = "SELECT sum(length(data) BETWEEN 900 AND 2000), sum(length(data) > 30000) FROM vertebra_state_pieces"
    assert rows(tmp_path / "a.db", count) == [(100, 3)]


def test_a_window_that_moves_writes_no_value_again(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        line = Line(saver)
        for n in range(200):
            line.put({"log": [text(k) for k in range(max(0, n - 69), n + 1)]})
        assert line.values()["log"] == [text(k) for k in range(130, 200)]
    assert stored_bytes(tmp_path / "a.db") < 200 * 3500  # 70,000 bytes a step if it did
