"""Texts that JSON in Postgres does not take are stored all the same; what is refused says why and quotes nothing."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver

from tests.checkpointers.postgres.parts import rows
from tests.checkpointers.sqlite.parts import Line, at, values_of
from vertebra import END, START, Append, Graph, open_checkpointer, transition
from vertebra.checkpointers.postgres import PostgresCheckpointer
from vertebra.errors import StoreUnavailable, UsageError


class State(TypedDict):
    text: str
    notes: Append[str]


# LangGraph's serializer makes a question mark of half a pair, on any backend.
ODD = {"NUL": "a\0b", "half a pair": "half \ud83d", "long": "\0" + "x" * 100_000}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
@pytest.mark.parametrize("log", [[], ["y" * 100] * 3], ids=["whole", "in pieces"])
def test_any_text_comes_back_also_from_later_checkpoints(postgres_url: str, text: str, log: list[str]) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        line = Line(saver)
        first = line.put({"text": text, "log": log})
        line.put({"text": text, "log": log, "n": 1}, "n")  # in which the text was not written
    text = text.replace("\ud83d", "?")
    with PostgresCheckpointer(postgres_url) as saver:
        assert values_of(saver, first) == {"text": text, "log": log}
        assert values_of(saver, at()) == {"text": text, "log": log, "n": 1}


def test_plain_langgraph_reads_such_a_text(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        Line(saver).put({"text": ODD["NUL"], "n": 1})
    with PostgresSaver.from_conn_string(postgres_url) as plain:
        assert values_of(plain, at()) == {"text": ODD["NUL"], "n": 1}


async def test_a_model_may_answer_with_them(postgres_url: str) -> None:
    @transition
    def answer(state: State) -> dict[str, Any]:
        return {"text": ODD["NUL"], "notes": [ODD["NUL"]]}

    graph = Graph(State, name="odd")
    graph.add_edge(START, answer).add_edge(answer, END)
    async with graph.compile(checkpointer=postgres_url) as app:
        run = await app.run({}, thread_id="t")
        assert (run.status, run.output["text"]) == ("done", ODD["NUL"])


@pytest.mark.parametrize("refused", [object(), "no table"], ids=["no serializer takes it", "there is no table"])
def test_a_put_that_is_refused_takes_no_held_write_with_it(
    postgres_url: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were acknowledged: of a task that has written, nothing is executed again."""
    monkeypatch.setattr("vertebra.checkpointers.postgres.held.HELD_S", 3600.0)
    with PostgresCheckpointer(postgres_url) as saver:
        line = Line(saver)
        config = line.put({"v": 1})
        saver.put_writes(config, [("v", 2)], "task")
        if refused == "no table":
            with psycopg.connect(postgres_url, autocommit=True) as other:
                other.execute("ALTER TABLE checkpoints RENAME TO elsewhere")
                with pytest.raises(Exception, match="checkpoints"):
                    line.put({"v": 3})
                other.execute("ALTER TABLE elsewhere RENAME TO checkpoints")
        else:
            with pytest.raises(TypeError):
                line.put({"v": refused})
        found = saver.get_tuple(config)
        assert found is not None
        assert found.pending_writes == [("task", "v", 2)]


async def test_a_server_that_turns_read_only_takes_what_is_held_later(postgres_url: str) -> None:
    with open_checkpointer(postgres_url) as store:
        saver: Any = store.saver.inner
        line = Line(saver)
        config = await asyncio.to_thread(line.put, {"v": 1})
        with psycopg.connect(postgres_url, autocommit=True) as other:
            name = other.info.dbname
            other.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await saver.aput_writes(config, [("v", 2)], "task")
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(line.put, {"v": 3})
            await asyncio.sleep(0.3)
            other.execute("SET default_transaction_read_only = off")
            other.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = off')
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        for _ in range(200):
            if rows(postgres_url, "SELECT count(*) FROM checkpoint_writes") == [(1,)]:
                break
            await asyncio.sleep(0.1)
        assert rows(postgres_url, "SELECT count(*) FROM checkpoint_writes") == [(1,)]


def test_what_is_refused_is_not_quoted(postgres_url: str) -> None:
    secret = "patient Anna Muster"
    with PostgresCheckpointer(postgres_url) as saver:
        line = Line(saver, "i" * 10 + "".join(chr(0x4E00 + n) for n in range(9000)))
        with pytest.raises(UsageError, match="shorter ids") as caught:
            line.put({"v": secret})
        assert secret not in str(caught.value)
        metadata: Any = {"step": 1, "note": f"{secret} \ud83d"}
        line = Line(saver)
        line.put({"v": 1})
        found = saver.get_tuple(at())
        assert found is not None
        with pytest.raises(UsageError, match="refuses a value") as caught:
            saver.put(found.config, {**found.checkpoint, "id": "z"}, metadata, {})
        assert secret not in str(caught.value)
