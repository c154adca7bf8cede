"""The journal: each call recorded once, answered from the record ever after, whatever comes between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from vertebra import open_checkpointer
from vertebra.checkpointers.journal import Journal
from vertebra.databases.sealing import MARK
from vertebra.types import Attempt, CallKey, CallRecord, RecordedAnswer, VisitRecord

KEY = CallKey("t", "draft@2", "9f", 0, 0)
CALL = CallRecord(
    key=KEY, run_id="r", node="draft", step=2, kind="llm", endpoint="POST /chat/completions", model="m",
    status="intent", request='{"q": "Größe \\u0000 🙂"}', answer=None, started_at=10.5, finished_at=None,
    sends=1, lost=0, replays=0, sequence=3,
)  # fmt: skip
ANSWER = RecordedAnswer(200, (("content-type", "application/json"), ("x-größe", "🙂")), b"\x00\xff body", 7, None)
OTHER = RecordedAnswer(200, (), b"another", None, 9)


@pytest.fixture
def journal(store_url: str) -> Iterator[Journal]:
    with open_checkpointer(store_url) as store:
        yield store.journal


async def test_a_call_is_an_intent_then_its_answer_then_a_replay(journal: Journal) -> None:
    assert await journal.begin(CALL) == CALL
    assert await journal.calls("t") == [CALL]
    assert await journal.complete(KEY, ANSWER, 12.25) == ANSWER
    done = replace(CALL, status="done", answer=ANSWER, finished_at=12.25)
    assert await journal.calls("t") == [done]
    for replays in (1, 2):
        assert await journal.begin(replace(CALL, started_at=99.0, run_id="later")) == replace(done, replays=replays)
    assert await journal.calls("t") == [replace(done, replays=2)]


async def test_an_answer_that_begins_as_sealed_content_does_is_plain_all_the_same(journal: Journal) -> None:
    answer = replace(ANSWER, body=MARK + b"\x01 as a provider pleases")
    await journal.begin(CALL)
    await journal.complete(KEY, answer, 1.0)
    replayed = await journal.begin(replace(CALL, run_id="later"))
    assert replayed.answer == answer


async def test_the_first_answer_stands(journal: Journal) -> None:
    await journal.begin(CALL)
    assert await journal.complete(KEY, ANSWER, 1.0) == ANSWER
    assert await journal.complete(KEY, OTHER, 2.0) == ANSWER
    (call,) = await journal.calls("t")
    assert (call.answer, call.finished_at) == (ANSWER, 1.0)


async def test_an_intent_left_by_a_process_that_died_is_counted_as_lost(journal: Journal) -> None:
    await journal.begin(CALL)
    again = await journal.begin(replace(CALL, started_at=20.0))
    assert (again.status, again.sends, again.lost) == ("intent", 2, 1)
    assert again.attempts == (Attempt("unknown: the process died", 20.0),)
    assert await journal.calls("t") == [again]


async def test_a_sending_whose_outcome_is_known_is_not_lost(journal: Journal) -> None:
    await journal.begin(CALL)
    attempts = (Attempt("http", 11.0, 429, 0.5), Attempt("ConnectError", 12.0))
    await journal.sent(KEY, attempts[0], again=True)
    await journal.sent(KEY, attempts[1], again=False)
    (call,) = await journal.calls("t")
    assert (call.sends, call.lost, call.attempts) == (2, 0, attempts)
    again = await journal.begin(CALL)
    assert (again.sends, again.lost, again.attempts) == (3, 0, attempts)
    await journal.complete(KEY, ANSWER, 13.0)
    (call,) = await journal.calls("t")
    assert (call.sends, call.lost, len(call.attempts)) == (3, 0, 2)


async def test_what_comes_for_a_deleted_thread_is_let_go(journal: Journal) -> None:
    await journal.sent(KEY, Attempt("http", 11.0, 500), again=False)
    assert await journal.complete(KEY, ANSWER, 1.0) == ANSWER
    assert await journal.calls("t") == []


async def test_each_part_of_the_key_tells_calls_apart(journal: Journal) -> None:
    keys = [KEY, *(replace(KEY, **{n: v}) for n, v in
            {"thread": "u", "visit": "draft@3", "request_hash": "a0", "epoch": 1, "ordinal": 1}.items())]  # fmt: skip
    for n, key in enumerate(keys):
        await journal.begin(replace(CALL, key=key, started_at=float(-n)))
    assert {c.key for c in [*await journal.calls("t"), *await journal.calls("u")]} == set(keys)
    assert [c.started_at for c in await journal.calls("t")] == [-5.0, -4.0, -3.0, -2.0, 0.0]
    assert [c.key for c in await journal.calls("t", "draft@3")] == [keys[2]]


def test_begins_and_answers_of_one_key_at_once(store_url: str) -> None:
    """Two processes may believe for a moment that they hold the thread: one intent, one answer, no error."""
    with open_checkpointer(store_url) as store, ThreadPoolExecutor(8) as threads:
        begun = list(threads.map(lambda n: asyncio.run(store.journal.begin(CALL)), range(16)))
        assert sorted(call.sends for call in begun) == list(range(1, 17))
        given = [replace(ANSWER, body=f"{n}".encode()) for n in range(16)]
        kept = list(threads.map(lambda a: asyncio.run(store.journal.complete(KEY, a, 1.0)), given))
        assert len({answer.body for answer in kept}) == 1
        (call,) = asyncio.run(store.journal.calls("t"))
        assert call.answer == kept[0]
        assert (call.sends, call.lost, len(call.attempts)) == (16, 15, 15)


def test_a_value_is_kept_once_whoever_records_it(store_url: str) -> None:
    with open_checkpointer(store_url) as store, ThreadPoolExecutor(8) as threads:
        for name in ("now", "random", "Größe 'x'"):
            found = set(
                threads.map(lambda n, name=name: store.journal.record_value_sync("t", "v", name, f"{n}"), range(16))
            )
            assert len(found) == 1
            assert {asyncio.run(store.journal.record_value("t", "v", name, "later"))} == found


async def test_epochs_count_up_and_tell_what_they_kept(journal: Journal) -> None:
    assert await journal.epochs("t", "v") == []
    kept = frozenset({("9f", 0), ("9f", 1)})
    assert await journal.advance_epoch("t", "v", kept, "invalid") == 1
    assert await journal.advance_epoch("t", "v", frozenset(), "resume(fresh=)") == 2
    assert await journal.advance_epoch("t", "w", kept, "invalid") == 1
    assert await journal.epochs("t", "v") == [kept, None]
    numbers = await asyncio.gather(*(journal.advance_epoch("t", "x", kept, "r") for _ in range(5)))
    assert sorted(numbers) == [1, 2, 3, 4, 5]


async def test_a_visit_that_ends_again_adds_its_executions(journal: Journal) -> None:
    failed = VisitRecord("draft@2", "draft", 2, "r1", "failed", 2, 1.0, 2.0, {"code": "node_failed", "text": "Größe"})
    done = VisitRecord("draft@2", "draft", 2, "r2", "done", 1, 5.0, 6.0)
    early = VisitRecord("cut@1", "cut", 1, "r1", "done", 1, 0.0, 0.5)
    await journal.visit_ended("t", failed)
    await journal.visit_ended("t", early)
    assert await journal.visits("t") == [early, failed]
    await journal.visit_ended("t", done)
    assert await journal.visits("t") == [early, replace(done, executions=3, started_at=1.0)]
    assert await journal.visits("u") == []


async def test_what_was_done_by_hand_is_told_in_order(journal: Journal) -> None:
    await journal.intervened("t", "skip", "draft", "alice", {"fields": ["text"]})
    await journal.intervened("t", "fresh", "draft", None, {"visits": []})
    await asyncio.gather(*(journal.intervened("t", "update_state", "", "bob", {}) for _ in range(3)))
    found = await journal.interventions("t")
    assert [i["kind"] for i in found] == ["skip", "fresh", *["update_state"] * 3]
    assert found[0] == {"kind": "skip", "node": "draft", "principal": "alice", "detail": {"fields": ["text"]},
                        "at": found[0]["at"]}  # fmt: skip
    assert found[0]["at"] <= found[1]["at"]
