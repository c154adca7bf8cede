"""Visits: names that survive a crash, ordinals, sampling epochs, and the fence after the end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertebra.errors import VisitClosed
from vertebra.nodes.visit import Kept, Visit, effective_epoch, kept_before, visit_key

NAMES = st.text(st.characters(categories=["L", "N"], include_characters=" !?.-_"), min_size=1, max_size=8)
LEVELS = st.lists(st.tuples(NAMES, st.integers(0, 99), st.none() | st.integers(0, 99)), min_size=1, max_size=3)
BRANCHES = st.sampled_from(["", "b7", "b7b1"])
CALLS = st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 2)), unique=True)


def key_of(levels: list[tuple[str, int, int | None]], branch: str) -> str:
    key: str | None = None
    for node, step, index in levels:
        key = visit_key(key, node, step, index, branch)
    assert key is not None
    return key


def visit(**more: Any) -> Visit:
    return Visit("thread", "node@1", "node", 1, "run", **more)


def test_a_key_names_each_level_of_nesting_and_the_branch_once() -> None:
    assert key_of([("scribe", 3, None), ("summarise", 1, 4)], "b7") == "scribe@3/summarise@1#4~b7"
    assert key_of([("scribe", 3, None)], "") == "scribe@3"
    assert key_of([("scribe", 3, 0), ("draft", 1, None)], "") == "scribe@3#0/draft@1"


@given(LEVELS, BRANCHES, LEVELS, BRANCHES)
def test_two_places_have_two_keys(one: list[Any], branch: str, two: list[Any], other: str) -> None:
    assert (key_of(one, branch) == key_of(two, other)) == ((one, branch) == (two, other))


@given(st.lists(st.none() | st.frozensets(st.tuples(st.sampled_from("xy"), st.integers(0, 1))), max_size=4))
def test_a_call_belongs_to_the_latest_epoch_that_did_not_keep_it(epochs: list[Kept | None]) -> None:
    for call in [("x", 0), ("y", 1)]:
        epoch = effective_epoch(epochs, *call)
        assert all(kept is not None and call in kept for kept in epochs[epoch:])
        assert epoch == 0 or epochs[epoch - 1] is None or call not in (epochs[epoch - 1] or ())


@given(CALLS)
def test_sampling_anew_keeps_all_but_the_last_answer_and_then_nothing(calls: list[tuple[str, int]]) -> None:
    first, second = kept_before(calls, 0), kept_before(calls, 1)
    assert first == set(calls[:-1])
    assert second == frozenset()
    if calls:
        assert effective_epoch([first], *calls[-1]) == 1, "the answer to blame is asked anew"
        assert all(effective_epoch([first], *call) == 0 for call in calls[:-1]), "the others are not"
        assert all(effective_epoch([first, second], *call) == 2 for call in calls)


@given(st.lists(st.tuples(st.sampled_from("xy"), st.booleans())))
def test_an_ordinal_counts_equal_requests_and_comes_back_when_unanswered(calls: list[tuple[str, bool]]) -> None:
    books, held = visit(), {"x": set[int](), "y": set[int]()}
    for request, answered in calls:
        ordinal = books.take_ordinal(request)
        assert ordinal == min(set(range(len(calls) + 1)) - held[request])
        if answered:
            held[request].add(ordinal)
            books.answered(request, ordinal)
        else:
            books.release_ordinal(request, ordinal)
    assert len(books.finished) == sum(answered for _, answered in calls)


def test_threads_at_once_never_share_an_ordinal() -> None:
    books, taken = visit(), list[int]()
    threads = [threading.Thread(target=lambda: taken.append(books.take_ordinal("x"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(20))


def test_after_its_end_a_visit_makes_no_more_calls() -> None:
    books = visit()
    books.close()
    with pytest.raises(VisitClosed, match="'node' has ended"):
        books.take_ordinal("x")


def test_recorded_values_are_numbered_by_kind() -> None:
    books = visit()
    assert [books.next_value_name(kind) for kind in ("now", "now", "uuid")] == ["now:0", "now:1", "uuid:0"]


def test_chance_is_the_same_whenever_the_visit_is_executed_and_another_elsewhere() -> None:
    def numbers(of: Visit) -> list[int]:
        random = of.random()
        return [random.randrange(10**9) for _ in range(5)]

    other = Visit("thread", "node@2", "node", 2, "run")
    assert numbers(visit()) == numbers(visit()) != numbers(other)


def test_notices_reach_the_observer_if_there_is_one() -> None:
    seen: list[Any] = []
    watched = visit(observer=lambda kind, of, details: seen.append((kind, of.key, details)))
    watched.notify("token", {"text": "a"})
    visit().notify("token", {"text": "b"})
    assert seen == [("token", "node@1", {"text": "a"})]


async def test_only_the_calls_of_the_body_itself_come_in_program_order() -> None:
    books = visit()
    assert books.next_sequence() is None, "the body has not been entered"
    books.enter_body()

    async def elsewhere() -> int | None:
        return books.next_sequence()

    def lend() -> int | None:
        with books.on_this_strand():
            return lent()

    def lent() -> int | None:
        return books.next_sequence()

    assert books.next_sequence() == 0
    assert await asyncio.create_task(elsewhere()) is None
    assert await asyncio.to_thread(lent) is None
    assert books.next_sequence() == 1


async def test_a_thread_may_lend_its_place_to_the_one_that_calls_for_it() -> None:
    books = visit()
    books.enter_body()
    with books.on_this_strand():
        assert await asyncio.to_thread(books.next_sequence) == 0
    assert await asyncio.to_thread(books.next_sequence) is None
