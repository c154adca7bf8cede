"""Run records that are not as they were written: told by thread, and no reason to lose sight of the others."""

from __future__ import annotations

import asyncio

import pytest

from tests.checkpointers.encrypted import execute
from tests.runtime.test_recovering import begun, line, step
from vertebra import VertebraError, open_checkpointer
from vertebra.errors import StoreCorrupt

HELD = '{"a": 1}'


@pytest.mark.parametrize(
    "damage",
    [
        "shape = 'secret'",
        "shape = '[]'",
        "story = 'secret'",
        "story = '[1]'",
        "error = 'secret'",
        "lease_holder = 'secret', lease_until = 9e99",
        f"lease_holder = '{HELD}', lease_until = 9e99",
        "status = 'secret'",
    ],
)
async def test_a_damaged_record_is_told_and_the_others_go_on(durable_url: str, damage: str) -> None:
    async with line(step).compile(checkpointer=durable_url) as app:
        for thread in ("a", "b", "c"):
            await app.run({}, thread_id=thread)
        execute(durable_url, f"UPDATE vertebra_threads SET {damage} WHERE thread = 'b'")
        runs, found = app.services.store.runs, dict[str, VertebraError]()
        with pytest.raises(StoreCorrupt):
            await runs.threads()
        assert [record.thread for record in await runs.threads(damaged=found.__setitem__)] == ["c", "a"]
        assert found["b"].context == {"thread": "b", "row": "run record"}
        for asked in (app.status("b"), app.resume("b"), app.run({}, thread_id="b"), app.cancel("b")):
            with pytest.raises(StoreCorrupt, match="Damaged row: run record") as told:
                await asked
            assert "secret" not in str(told.value)
        pruned = await app.prune(older_than_s=0)
        assert (pruned.threads, pruned.kept) == (2, {} if "status" in damage else {"damaged": 1})


async def test_a_time_that_is_none(sqlite_url: str) -> None:
    async with line(step).compile(checkpointer=sqlite_url) as app:
        await app.run({}, thread_id="b")
        execute(sqlite_url, "UPDATE vertebra_threads SET updated_at = 'secret'")
        with pytest.raises(StoreCorrupt, match=r"run record \(ValueError\)"):
            await app.status("b")


@pytest.mark.parametrize(
    "damage",
    ["shape = 'secret'", "lease_holder = 'secret'", "lease_holder = 'secret', lease_until = NULL", "input = NULL"],
)
async def test_recovery_tells_of_a_damaged_thread_and_goes_on_with_the_others(durable_url: str, damage: str) -> None:
    async with line(step).compile(checkpointer=durable_url) as app:
        for thread in ("a", "b", "c"):
            await begun(app, thread)
        execute(durable_url, f"UPDATE vertebra_threads SET {damage} WHERE thread = 'b'")
        runs = {run.thread_id: run for run in await app.recover()}
        assert (runs["a"].status, runs["c"].status) == ("done", "done")
        assert isinstance(runs["b"].error, StoreCorrupt)
        assert runs["b"].status == "running"


async def test_recovery_tells_of_a_damaged_checkpoint_and_goes_on_with_the_others(sqlite_url: str) -> None:
    async with line(step).compile(checkpointer=sqlite_url) as app:
        for thread in ("a", "b", "c"):
            await app.run({}, thread_id=thread)
    execute(sqlite_url, "UPDATE vertebra_threads SET status = 'running'")
    execute(
        sqlite_url,
        "UPDATE vertebra_state_checkpoints SET data = ? WHERE thread_number = "
        "(SELECT number FROM vertebra_state_threads WHERE thread = 'b')",
        b"",
    )
    async with line(step).compile(checkpointer=sqlite_url) as app:
        runs = {run.thread_id: run for run in await app.recover()}
        assert (runs["a"].status, runs["c"].status) == ("done", "done")
        assert isinstance(runs["b"].error, StoreCorrupt)
        pruned = await app.prune(keep=1, statuses=["done"])
        assert pruned.shortened == 2
    execute(sqlite_url, "UPDATE vertebra_threads SET status = 'done'")
    with open_checkpointer(sqlite_url) as store:
        for dry_run in (True, False):
            pruned = await store.prune(keep=1, dry_run=dry_run)
            assert pruned.kept == {"damaged": 1}
            assert [*pruned.damaged] == ["b"]
            error = pruned.damaged["b"]
            assert error.context["thread"] == "b"
            assert "checkpoint" in error.context["row"]
            assert error.remedy


async def test_damaged_calls_and_answers_are_told_by_thread(sqlite_url: str) -> None:
    from tests.runtime.test_recovering import two_questions

    async with two_questions().compile(checkpointer=sqlite_url) as app:
        run = await app.run({}, thread_id="t")
        await app.resume("t", True, interrupt_id=run.interrupts[0].id)
        execute(sqlite_url, "UPDATE vertebra_answers SET answer = '{secret'")
        with pytest.raises(StoreCorrupt, match="Damaged row: answers") as told:
            await app.verify("t")
        assert told.value.context["thread"] == "t"
        execute(sqlite_url, "UPDATE vertebra_visits SET error = '{secret'")
        with pytest.raises(StoreCorrupt, match="Damaged row: visits"):
            await app.services.store.journal.visits("t")


def test_the_sync_face_tells_the_same(sqlite_url: str) -> None:
    with line(step).compile(checkpointer=sqlite_url) as app:
        app.run_sync({}, thread_id="b")
        execute(sqlite_url, "UPDATE vertebra_state_checkpoints SET data = ?", b"\xc1")
        for ask in (app.verify_sync, app.fork_sync, app.history_sync):
            with pytest.raises(StoreCorrupt) as told:
                list(ask("b"))  # type: ignore[call-overload]
            assert told.value.context["thread"] == "b"
    assert asyncio.run(_exported(sqlite_url)).context["thread"] == "b"


async def _exported(url: str) -> StoreCorrupt:
    async with line(step).compile(checkpointer=url) as app:
        with pytest.raises(StoreCorrupt) as told:
            await app.export("b")
    return told.value
