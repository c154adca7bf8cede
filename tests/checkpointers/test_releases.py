"""Databases of every release are opened for ever, and each of their threads is driven to its end by today's code."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.release_graph import Approval, State, graph
from vertebra import __version__, open_checkpointer
from vertebra.errors import GraphChanged
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel

FIXTURES = Path(__file__).parent.parent / "fixtures"
RELEASES = sorted({path.stem.removeprefix("release-") for path in FIXTURES.glob("release-*.*[bl]")})


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, release: str, tmp_path: Path) -> str:
    """A copy of what the release has left."""
    if request.param == "sqlite":
        copy = tmp_path / "threads.db"
        copy.write_bytes((FIXTURES / f"release-{release}.db").read_bytes())
        return f"sqlite:///{copy}"
    found: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(found) as connection:
        connection.execute((FIXTURES / f"release-{release}.sql").read_bytes())
    return found


def opened(url: str) -> App:
    app: App = graph().compile(checkpointer=url, default_model="m")
    return app


def test_there_is_a_fixture_of_the_first_release_on_both_databases() -> None:
    assert "0.1.0" in RELEASES
    assert __version__ >= RELEASES[-1]
    for version in RELEASES:
        assert (FIXTURES / f"release-{version}.db").exists()
        assert (FIXTURES / f"release-{version}.sql").exists()


async def test_all_its_threads_are_there(url: str) -> None:
    with open_checkpointer(url) as store:
        records = {record.thread: record for record in await store.runs.threads()}
        statuses = {name: record.status for name, record in records.items()}
        assert statuses == {"died": "running", "asks": "interrupted", "failed": "failed", "done": "done"}
        assert await store.runs.recoverable("release") == ["died"]
        assert {record.principal for record in records.values()} == {"alice"}
        assert {c.status for c in await store.journal.calls("died")} == {"done"}


async def test_the_run_whose_process_died_pays_for_nothing_again(url: str, scripted_model: ScriptedModel) -> None:
    async with opened(url) as app:
        (run,) = await app.recover()
        assert (run.status, run.thread_id) == ("interrupted", "died")
        assert run.calls_from_journal == 1
        calls = {c.node: c for c in await app.services.store.journal.calls("died")}
        answer = calls["draft"].answer
        assert answer is not None
        assert run.output.report.title == json.loads(answer.body)["choices"][0]["message"]["content"]
        done = await app.resume("died", Approval(ok=True))
        assert (done.status, done.output.approval) == ("done", Approval(ok=True))
        assert done.output.sent.startswith("vertebra-")
        assert not scripted_model.books.paid()


async def test_the_question_takes_its_answer(url: str, scripted_model: ScriptedModel) -> None:
    async with opened(url) as app:
        run = await app.status("asks")
        (question,) = run.interrupts
        assert (question.text, question.node) == ("Send it?", "approve")
        done = await app.resume("asks", {"ok": False}, interrupt_id=question.id)
        assert (done.status, done.output.approval) == ("done", Approval(ok=False))
        assert not scripted_model.books.paid()


async def test_the_failed_run_is_resumed_and_pays_for_one_call(url: str, scripted_model: ScriptedModel) -> None:
    async with opened(url) as app:
        run = await app.status("failed")
        assert run.error is not None
        assert (run.error.code, run.next) == ("provider_refused", ("draft",))
        assert (await app.resume("failed")).status == "interrupted"
        assert (await app.resume("failed", Approval(ok=True))).status == "done"
        assert len(scripted_model.books.paid()) == 1


async def test_the_finished_run_is_as_it_was_and_takes_a_further_turn(url: str, scripted_model: ScriptedModel) -> None:
    async with opened(url) as app:
        run = await app.resume("done")
        assert (run.status, run.output.approval, len(run.output.notes)) == ("done", Approval(ok=True), 2)
        assert len([s async for s in app.history("done")]) >= 5
        again = await app.run({"topic": "once more"}, thread_id="done")
        assert (again.status, len(again.output.notes)) == ("interrupted", 4)


async def test_another_graph_is_refused_there_too(url: str) -> None:
    def new(state: State) -> dict[str, object]:
        return {}

    changed = graph()
    changed.add_edge("draft", new)
    changed.add_edge(new, "approve")
    async with changed.compile(checkpointer=url, default_model="m") as app:
        with pytest.raises(GraphChanged, match="new"):
            await app.resume("failed")


async def test_threads_are_deleted_whole(url: str) -> None:
    async with opened(url) as app:
        for record in await app.services.store.runs.threads():
            await app.delete(record.thread)
        assert await app.services.store.runs.threads() == []


def test_opening_leaves_the_fixture_as_it_is(release: str) -> None:
    """The tests work on copies; the file itself holds no trace of a reader."""
    names = {path.name for path in FIXTURES.iterdir() if path.name.startswith(f"release-{release}.")}
    assert names == {f"release-{release}.db", f"release-{release}.sql"}


def schema(file: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE name LIKE 'vertebra%' AND sql NOT NULL")
        return {(name, " ".join(sql.split())) for name, sql in found}


def test_what_is_migrated_is_what_is_made_anew(release: str, tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    old.write_bytes((FIXTURES / f"release-{release}.db").read_bytes())
    for path in (old, new):
        open_checkpointer(f"sqlite:///{path}").close()
    assert schema(old) == schema(new)
    assert asyncio.run(_schema_version(old)) == asyncio.run(_schema_version(new))


async def _schema_version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT max(version) FROM vertebra_schema").fetchone()[0])
