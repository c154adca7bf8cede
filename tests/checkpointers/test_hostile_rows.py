"""Rows of whoever can write to the database: no code of theirs runs, and what comes of them is data or an error."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.base import empty_checkpoint

from tests.checkpointers.encrypted import Diagnosis, execute, graph, new_key
from vertebra import open_checkpointer
from vertebra.checkpointers.opening import Store
from vertebra.errors import ContentTampered, VertebraError

PLACE = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


class Bomb:
    """What a pickle runs when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return subprocess.call, (["touch", str(self.mark)],)


def payloads(mark: Path) -> dict[str, tuple[str, bytes]]:
    """Kinds and bytes, each of which would touch a file, if it were let."""
    touch = f"touch {mark}"

    def ext(code: int, *parts: Any) -> tuple[str, bytes]:
        return "msgpack", ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))

    def lc(version: int, id: list[str], **more: Any) -> tuple[str, bytes]:
        return "json", json.dumps({"lc": version, "type": "constructor", "id": id, **more}).encode()

    return {
        "pickle": ("pickle", pickle.dumps(Bomb(mark))),
        "one argument": ext(0, "os", "system", touch),
        "arguments": ext(1, "subprocess", "call", [["touch", str(mark)]]),
        "named arguments": ext(2, "subprocess", "run", {"args": ["touch", str(mark)]}),
        "a method": ext(3, "os", "system", touch, "__call__"),
        "a method of an allowed type": ext(3, Diagnosis.__module__, "Diagnosis", str(mark), "parse_file"),
        "pydantic 1": ext(4, "subprocess", "Popen", {"args": ["touch", str(mark)]}),
        "pydantic 2": ext(5, "subprocess", "Popen", {"args": ["touch", str(mark)]}, "model_validate_json"),
        "through an allowed module": ext(0, Diagnosis.__module__, "subprocess.call", touch),
        "within a list": ("msgpack", ormsgpack.packb([ormsgpack.Ext(0, ormsgpack.packb(("os", "system", touch)))])),
        "lc 1": lc(1, ["os", "system"], kwargs={"command": touch}),
        "lc 2": lc(2, ["subprocess", "call"], args=[["touch", str(mark)]]),
        "lc 2 and a method": lc(2, ["pathlib", "Path"], args=[str(mark)], method="touch"),
        "lc 2, builtins": lc(2, ["builtins", "exec"], args=[f"open({str(mark)!r}, 'w')"]),
        "no kind at all": ("nonsense", b"\x00"),
    }


NAMES = list(payloads(Path("x")))


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    mark = tmp_path / "touched"
    yield mark
    assert not mark.exists(), "the row has run code"


def read(store: Store) -> None:
    """Each way in which state is read: data, or an error that says so."""
    for load in (
        lambda: store.saver.get_tuple(PLACE),
        lambda: list(store.saver.list(PLACE)),
        lambda: list(store.saver.list(None)),
    ):
        try:
            load()
        except VertebraError:
            continue


async def put(store: Store, value: Any) -> None:
    checkpoint = {**empty_checkpoint(), "channel_values": {"v": value}, "channel_versions": {"v": "1"}}
    config = await store.saver.aput(PLACE, checkpoint, {"step": 0}, {"v": "1"})  # type: ignore[arg-type]
    await store.saver.aput_writes(config, [("v", value)], "task")


def test_the_payloads_would_run_if_they_were_let(tmp_path: Path) -> None:
    mark = tmp_path / "touched"
    pickle.loads(payloads(mark)["pickle"][1])
    assert mark.exists()
    mark.unlink()
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    for name in ("one argument", "arguments", "named arguments"):
        JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(payloads(mark)[name])
        assert mark.exists(), name
        mark.unlink()


@pytest.mark.parametrize("name", NAMES)
async def test_our_own_rows_in_sqlite(sqlite_url: str, mark: Path, name: str) -> None:
    from vertebra.checkpointers.pieces.codec import _KINDS, _OTHER

    kind, data = payloads(mark)[name]
    tag = bytes((_KINDS[kind],)) if kind in _KINDS else bytes((_OTHER, len(kind))) + kind.encode()
    with open_checkpointer(sqlite_url) as store:
        await put(store, ["x" * 200])
    for table in ("pieces", "checkpoints", "writes"):
        execute(sqlite_url, f"UPDATE vertebra_state_{table} SET data = ?", tag + data)
        with open_checkpointer(sqlite_url) as store:
            store.allow([Diagnosis])
            read(store)


@pytest.mark.parametrize("name", NAMES)
async def test_rows_of_langgraphs_own_saver_in_sqlite(sqlite_url: str, mark: Path, name: str) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    kind, data = payloads(mark)[name]
    with open_checkpointer(sqlite_url) as store, SqliteSaver.from_conn_string(store.url.path) as saver:
        config = saver.put(PLACE, empty_checkpoint(), {"step": 0}, {})  # type: ignore[arg-type]
        saver.put_writes(config, [("v", 1)], "task")
    execute(sqlite_url, "UPDATE writes SET type = ?, value = ?", kind, data)
    with open_checkpointer(sqlite_url) as store:
        store.allow([Diagnosis])
        read(store)
    execute(sqlite_url, "UPDATE checkpoints SET type = ?, checkpoint = ?", kind, data)
    with open_checkpointer(sqlite_url) as store:
        read(store)


async def test_rows_in_postgres(postgres_url: str, mark: Path) -> None:
    with open_checkpointer(postgres_url) as store:
        await put(store, ["x" * 200] * 40)
    for kind, data in payloads(mark).values():
        for table in ("checkpoint_blobs", "checkpoint_writes"):
            execute(postgres_url, f"UPDATE {table} SET type = ?, blob = ?", kind, data)
        execute(postgres_url, "UPDATE vertebra_state_pieces SET data = ?", b"\x03" + data)
        with open_checkpointer(postgres_url) as store:
            store.allow([Diagnosis])
            read(store)


async def test_an_input_and_a_recorded_thread(durable_url: str, mark: Path) -> None:
    """``App.pack``'s bytes in the run record, and the states of an export."""
    import base64

    async with graph().compile(checkpointer=durable_url, default_model="m") as app:
        await app.run({"text": "x"}, thread_id="t")  # the first model call fails: nobody answers
        export = await app.export("t")
        for kind, data in payloads(mark).values():
            execute(durable_url, "UPDATE vertebra_threads SET input = ?", kind.encode() + b"\n" + data)
            state = f"{kind}:{base64.b64encode(data).decode()}"
            hostile = {**export, "checkpoints": [{**item, "state": state} for item in export["checkpoints"]]}
            for act in (app.resume("t"), app.verify("t"), app.verify(hostile)):
                try:
                    await act
                except VertebraError:
                    continue


async def test_in_an_encrypted_store_no_row_of_a_stranger_is_even_looked_at(durable_url: str, mark: Path) -> None:
    table, column = ("vertebra_state_checkpoints", "data") if "sqlite" in durable_url else ("checkpoint_blobs", "blob")
    key = new_key()
    with open_checkpointer(durable_url, encryption=key) as store:
        await put(store, ["x" * 200])
    for _, data in payloads(mark).values():
        execute(durable_url, f"UPDATE {table} SET {column} = ?", data)
        with open_checkpointer(durable_url, encryption=key) as store, pytest.raises(ContentTampered):
            store.saver.get_tuple(PLACE)
