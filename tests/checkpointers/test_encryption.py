"""Encryption at rest: no column has content, no other key opens it, nothing is moved unseen, and all goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from psycopg.types.json import Jsonb

from tests.checkpointers.encrypted import WORD, answering, columns_with, execute, graph, live, mend, new_key
from vertebra import open_checkpointer
from vertebra.errors import (
    ContentTampered,
    EncryptionKeyMissing,
    EncryptionKeyWrong,
    StoreError,
    StoreNotEncrypted,
    UsageError,
)
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel

KEY = new_key()


@pytest.fixture(autouse=True)
def model(scripted_model: ScriptedModel) -> ScriptedModel:
    return answering(scripted_model)


def app(url: object, encryption: object = KEY, version: str = "1") -> App:
    return graph(version).compile(checkpointer=url, encryption=encryption, default_model="m")  # type: ignore[arg-type]


async def test_no_column_has_content(durable_url: str, tmp_path: Path) -> None:
    plain = f"sqlite:////{str(tmp_path).lstrip('/')}/plain.db"
    async with app(plain, None) as it:
        await live(it)
        found = columns_with(plain)
        await mend(it)
    found |= columns_with(plain)
    journaled = {"calls.request", "calls.answer_body", "answers.answer", "visits.error", "threads.input"}
    assert {f"vertebra_{column}" for column in journaled} | {"the file"} <= found
    assert "vertebra_interventions.detail" in found, "in base64"
    assert found & {"vertebra_state_pieces.data", "vertebra_state_checkpoints.data"}
    async with app(durable_url) as it:
        await live(it)
        await it.fork("t", thread_id="fork")
        await mend(it)
    assert columns_with(durable_url) == set()


async def test_all_goes_on_in_another_process(durable_url: str, model: ScriptedModel) -> None:
    async with app(durable_url) as it:
        await live(it)
    async with app(durable_url) as it:
        state = await mend(it)
        assert (state.sent, len(state.notes), state.notes[-1]) == (WORD, 41, f"He is {WORD}.")
        assert (await it.verify("t")).ok
        store = it.services.store
        (call,) = [call for call in await store.journal.calls("t") if call.kind == "llm"]
        assert WORD in (call.request or "")
        assert [item["detail"]["fields"] for item in await store.journal.interventions("t")] == [["sent"]]
        assert (await it.fork("t", thread_id="end")).output.notes == state.notes
        edges = [edge async for edge in it.history("t")]
        await it.fork("t", at=edges[-2].config["configurable"]["checkpoint_id"], thread_id="fork")
        (inherited,) = [call for call in await store.journal.calls("fork") if call.kind == "llm"]
        assert (inherited.key.request_hash, inherited.answer) == (call.key.request_hash, call.answer)
        again = await it.fork(
            "t", at=[edge async for edge in it.history("t")][3].config["configurable"]["checkpoint_id"]
        )
        assert (await it.resume(again.thread_id)).status in ("interrupted", "done")
        export = await it.export("t")
        assert WORD in str(export), "an export is plain by design"
        await it.delete("fork")
    assert len(model.books.paid()) == 1
    async with app("memory://", None) as it:
        assert (await it.verify(export)).ok


async def test_a_growing_list_is_still_stored_once(durable_url: str) -> None:
    def bytes_of(url: str) -> int:
        return int(execute(url, "SELECT sum(length(data)) FROM vertebra_state_pieces")[0][0])

    with open_checkpointer(durable_url, encryption=KEY) as store:
        sizes = []
        notes: list[str] = []
        config: dict = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        from langgraph.checkpoint.base import empty_checkpoint

        for step in range(100):
            notes = [*notes, f"{step}" * 300]
            version = store.saver.get_next_version(step or None, None)
            checkpoint = {**empty_checkpoint(), "channel_values": {"v": notes}, "channel_versions": {"v": version}}
            config = await store.saver.aput(config, checkpoint, {"step": step}, {"v": version})  # type: ignore[arg-type]
            sizes.append(bytes_of(durable_url))
        assert sizes[99] < 2.6 * sizes[49]
        found = await store.saver.aget_tuple(config)
        assert found is not None
        assert found.checkpoint["channel_values"]["v"] == notes


async def test_a_missing_and_a_wrong_key_are_told_at_the_door(durable_url: str) -> None:
    async with app(durable_url) as it:
        await live(it)
    with pytest.raises(EncryptionKeyMissing) as missing:
        open_checkpointer(durable_url)
    with pytest.raises(EncryptionKeyWrong) as wrong:
        open_checkpointer(durable_url, encryption=new_key())
    for error in (missing.value, wrong.value):
        assert isinstance(error, StoreError)
        assert error.remedy
        assert KEY not in str(error)
    with open_checkpointer(durable_url, encryption=KEY) as store:
        assert (await store.runs.require("t")).error


async def test_plain_content_needs_no_key_and_is_not_mixed_with_sealed(durable_url: str) -> None:
    async with app(durable_url, None) as it:
        await live(it)
    with pytest.raises(StoreNotEncrypted):
        open_checkpointer(durable_url, encryption=KEY)
    async with app(durable_url, None) as it:
        await mend(it)


async def test_who_opened_an_empty_store_without_a_key_writes_nothing_plain_once_it_has_one(durable_url: str) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    checkpoint = {**empty_checkpoint(), "channel_values": {"text": WORD}, "channel_versions": {"text": "1"}}
    async with app(durable_url, None) as plain:
        saver = plain.services.store.saver
        with open_checkpointer(durable_url, encryption=KEY):
            pass
        with pytest.raises(EncryptionKeyMissing):
            await plain.run({"text": WORD}, thread_id="t")
        with pytest.raises(EncryptionKeyMissing):  # without a run, and without a lease
            await saver.aput(config, checkpoint, {}, {"text": "1"})  # type: ignore[arg-type]
    assert columns_with(durable_url) == set()


async def test_keys_rotate_with_threads_in_flight(durable_url: str, model: ScriptedModel) -> None:
    old, new = new_key(), new_key()
    async with app(durable_url, old) as it:
        await live(it)
    async with app(durable_url, [new, old]) as it:
        await it.run({"text": "another"}, thread_id="u")
        # Recorded under the old key, found under the new one: nothing is paid again.
        state = await mend(it)
        assert state.sent == WORD
    assert len(model.books.paid()) == 2
    with pytest.raises(EncryptionKeyWrong):
        open_checkpointer(durable_url, encryption=new)
    with open_checkpointer(durable_url, encryption=[new, old]) as store:
        assert (store.rekey(), store.rekey()) == (2, 0)
    async with app(durable_url, new) as it:
        assert (await it.verify("t")).ok
    with pytest.raises(EncryptionKeyWrong):
        open_checkpointer(durable_url, encryption=old)


SWAPPED = (
    ("threads", ("input", "error")),
    ("calls", ("request", "answer_body", "answer_headers", "attempts")),
    ("visits", ("error",)),
    ("answers", ("answer",)),
    ("interventions", ("detail",)),
)


async def test_no_value_opens_elsewhere_or_changed(durable_url: str) -> None:
    async with app(durable_url) as it:
        for thread in ("a", "b"):
            await live(it, thread)
            await it.services.store.journal.intervened(thread, "fresh", "draft", None, {"visits": [WORD]})
        store = it.services.store
        reads = {
            "threads": lambda thread: store.runs.require(thread),
            "calls": lambda thread: store.journal.calls(thread),
            "visits": lambda thread: store.journal.visits(thread),
            "answers": lambda thread: store.runs.answers(thread),
            "interventions": lambda thread: store.journal.interventions(thread),
        }
        for table, columns in SWAPPED:
            for column in columns:
                of = f"FROM vertebra_{table} WHERE thread = ? AND {column} IS NOT NULL"
                ((mine,), *_), ((other,), *_) = [execute(durable_url, f"SELECT {column} {of}", t) for t in ("a", "b")]
                plain = b"plain" if isinstance(mine, bytes) else '"plain"'
                for stored in (other, mine[:-4] + mine[:4], plain, mine[: len(mine) // 2]):
                    execute(durable_url, f"UPDATE vertebra_{table} SET {column} = ? WHERE {column} = ?", stored, mine)
                    with pytest.raises(ContentTampered, match=column):
                        await reads[table]("a")
                    execute(
                        durable_url,
                        f"UPDATE vertebra_{table} SET {column} = ? WHERE {column} = ? AND thread = 'a'",
                        *(mine, stored),
                    )
                assert await reads[table]("a")
                assert await reads[table]("b")


async def test_requests_are_found_by_digests_that_no_stranger_can_make(durable_url: str) -> None:
    async with app(durable_url) as it:
        await live(it, "a")
        await live(it, "b")
        (a,), (b,) = [
            [call for call in await it.services.store.journal.calls(thread) if call.kind == "llm"]
            for thread in ("a", "b")
        ]
    assert a.key.request_hash == b.key.request_hash, "the same was asked"
    rows = execute(durable_url, "SELECT request_hash FROM vertebra_calls WHERE kind = 'llm'")
    assert len({row[0] for row in rows}) == 2, "and nobody sees that"
    assert a.key.request_hash not in {row[0] for row in rows}


async def test_answers_are_pruned_and_hashes_stay(durable_url: str) -> None:
    async with app(durable_url) as it:
        await live(it)
        await mend(it)
        store = it.services.store
        keys = [call.key for call in await store.journal.calls("t")]
        assert (await store.prune(answers=True)).answers == 1
        calls = await store.journal.calls("t")
        assert [call.key for call in calls] == keys
        assert [call.request for call in calls] == [None, None]
        (answer,) = [call.answer for call in calls if call.answer is not None]
        assert (answer.pruned, answer.body) == (True, b"")


async def test_memory_is_encrypted_too(model: ScriptedModel) -> None:
    async with app("memory://") as it:
        await live(it)
        assert it.services.store.encrypted
        rows = it.services.store.database.run_sync(lambda tx: tx.all("SELECT input, error FROM vertebra_threads"))
        assert WORD.encode() not in b"".join(part if isinstance(part, bytes) else part.encode() for part in rows[0])
        assert (await mend(it)).sent == WORD


async def test_an_open_store_and_a_saver_do_not_pretend(tmp_path: Path) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    with open_checkpointer("memory://") as store:
        with pytest.raises(UsageError, match="not encrypted"):
            open_checkpointer(store, encryption=KEY)
        with pytest.raises(UsageError, match="not encrypted"):
            store.rekey()
    with open_checkpointer("memory://", encryption=KEY) as store:
        assert open_checkpointer(store, encryption=KEY) is store
    with pytest.raises(UsageError, match="as it is"):
        open_checkpointer(InMemorySaver(), encryption=KEY)

    class Cipher:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "reversed", plaintext[::-1]

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return ciphertext[::-1]

    saver = InMemorySaver(serde=EncryptedSerializer(Cipher()))  # type: ignore[arg-type]
    journal = f"sqlite:////{str(tmp_path).lstrip('/')}/journal.db"
    async with graph().compile(checkpointer=saver, journal=journal, encryption=KEY, default_model="m") as it:
        await live(it)
    assert columns_with(journal) == set()


ROWS = {
    "sqlite": {
        "vertebra_state_pieces": ("data", "rowid"),
        "vertebra_state_checkpoints": ("data", "id"),
        "vertebra_state_writes": ("data", "checkpoint || number || thread_number"),
    },
    "postgresql": {
        "vertebra_state_pieces": ("data", "thread_number || ' ' || number"),
        "checkpoint_blobs": ("blob", "thread_id || channel || version"),
        "checkpoint_writes": ("blob", "checkpoint_id || task_id || idx"),
        "checkpoints": ("metadata", "checkpoint_id"),
    },
}


async def test_state_is_bound_to_its_place(durable_url: str) -> None:
    async with app(durable_url) as it:
        await live(it, "a")
        await live(it, "b")

    async def is_read() -> None:
        async with app(durable_url) as it:
            for thread in ("a", "b"):
                assert [edge async for edge in it.services.store.saver.alist({"configurable": {"thread_id": thread}})]

    for table, (column, key) in ROWS[durable_url.partition(":")[0]].items():
        values = dict(execute(durable_url, f"SELECT {key}, {column} FROM {table}"))
        ids = sorted(values, key=str)
        for one, other in ((ids[0], ids[-1]), (ids[1], ids[0])):
            change = f"UPDATE {table} SET {column} = ? WHERE {key} = ?"
            execute(durable_url, change, _stored(values[other]), one)
            with pytest.raises(ContentTampered):
                await is_read()
            execute(durable_url, change, _stored(values[one]), one)
    await is_read()
    if "sqlite" in durable_url:
        execute(durable_url, "UPDATE vertebra_state_threads SET thread = CASE thread WHEN 'a' THEN 'c' ELSE 'a' END")
        async with app(durable_url) as it:
            with pytest.raises(ContentTampered):
                await it.services.store.saver.aget_tuple({"configurable": {"thread_id": "a"}})


def _stored(value: object) -> object:
    return Jsonb(value) if isinstance(value, dict) else value


@pytest.mark.parametrize("what", ["versions", "values", "head", "metadata"])
async def test_a_checkpoint_in_postgres_is_whole_or_refused(postgres_url: str, what: str) -> None:
    changed = {
        "versions": "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_versions,notes}', '\"1\"')",
        "values": "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values}', '{\"text\": \"x\"}')",
        "head": "UPDATE checkpoints SET metadata = (SELECT metadata FROM checkpoints ORDER BY checkpoint_id LIMIT 1)",
        "metadata": "UPDATE checkpoints SET metadata = metadata - 'vertebra_sealed'",
    }
    async with app(postgres_url) as it:
        await live(it)
        execute(postgres_url, changed[what])
        with pytest.raises(ContentTampered):
            await it.services.store.saver.aget_tuple({"configurable": {"thread_id": "t"}})
