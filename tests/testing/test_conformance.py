"""Our conformance suite, on each of our savers, and on some that it must find fault with."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tests.servers import postgres
from vertebra import open_checkpointer
from vertebra.checkpointers.sqlite import SqliteCheckpointer
from vertebra.testing import conformance


def test_the_sqlite_checkpointer(tmp_path: Path) -> None:
    passed = conformance(
        lambda name: SqliteCheckpointer(f"sqlite:////{str(tmp_path).lstrip('/')}/{name}.db?durability=process")
    )
    assert passed.count("public put") == 17
    assert "killed" in passed


KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize("encryption", [None, KEY], ids=["plain", "encrypted"])
def test_what_langgraph_sees_of_a_store_in_a_file(tmp_path: Path, encryption: str | None) -> None:
    @contextmanager
    def opened(name: str) -> Iterator[Any]:
        url = f"sqlite:////{str(tmp_path).lstrip('/')}/{name}.db?durability=process"
        with open_checkpointer(url, encryption=encryption) as store:
            yield store.saver

    assert "public prune" in conformance(opened)


@pytest.mark.parametrize("encryption", [None, KEY], ids=["plain", "encrypted"])
def test_what_langgraph_sees_of_a_store_in_postgres(postgres_server: str, encryption: str | None) -> None:
    with ExitStack() as databases:
        urls: dict[str, str] = {}

        @contextmanager
        def opened(name: str) -> Iterator[Any]:
            if name not in urls:
                urls[name] = databases.enter_context(postgres.fresh_database(postgres_server))
            with open_checkpointer(urls[name], encryption=encryption) as store:
                yield store.saver

        with opened("killed"):  # made here, so that the child's database is the parent's
            pass
        assert {"public prune", "public copy_thread", "public delete_for_runs"} <= set(conformance(opened))


def raising(name: str) -> Any:
    raise OSError("no disk")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            lambda name: SqliteSaver(sqlite3.connect(":memory:", check_same_thread=False)),
            "SqliteSaver is for sync code",
        ),
        (lambda name: None, "gives a NoneType, which is no LangGraph checkpointer"),
        (raising, "raised OSError: no disk"),
    ],
    ids=["sync alone", "nothing", "raising"],
)
def test_what_cannot_be_checked_is_told_in_a_sentence(given: Any, told: str) -> None:
    with pytest.raises(AssertionError) as caught:
        conformance(given, durable=False)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_that_is_not_there_is_a_failure() -> None:
    class Half:
        async def aput(self, *given: Any) -> None: ...

        async def aget_tuple(self, *given: Any) -> None: ...

    with pytest.raises(AssertionError, match="aput_writes is not implemented"):
        conformance(lambda name: Half(), durable=False)


def test_in_memory() -> None:
    assert "public prune" in conformance(lambda _: SqliteCheckpointer("memory://"), durable=False)


def test_a_capability_that_is_not_implemented_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="acopy_thread is not implemented") as caught:
        conformance(lambda _: InMemorySaver(), durable=False)
    assert "public prune:\nnot implemented" in str(caught.value)


def test_a_saver_that_forgets_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="killed"):
        conformance(lambda _: InMemorySaver())


def test_async_context_managers_are_entered(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        conformance(lambda name: AsyncSqliteSaver.from_conn_string(f"{tmp_path}/{name}.db"))
    said = str(caught.value)
    assert "public delete_for_runs" in said
    assert "\nkilled" not in said
    assert "fifty_threads" not in said


@pytest.mark.campaign
def test_the_long_form(tmp_path: Path) -> None:
    url = f"sqlite:////{str(tmp_path).lstrip('/')}/"
    assert "ten_thousand_checkpoints" in conformance(lambda name: SqliteCheckpointer(f"{url}{name}.db"), long=True)
