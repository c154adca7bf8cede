"""Encryption at rest: no column has content, no other key opens it, nothing is moved unseen, and all goes on working."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        yield answering(model)


def app(url: object, encryption: object = KEY, version: str = "1") -> App:
    return graph(version).compile(checkpointer=url, encryption=encryption, default_model="m")  # type: ignore[arg-type]


async def test_no_column_has_content(durable_url: str, tmp_path: Path) -> None:
    plain = f"sqlite:////{str(tmp_path).lstrip('/')}/plain.db"
    async with app(plain, None) as it:
        await live(it)
    found = columns_with(plain)
    journaled = {"calls.request", "calls.answer_body", "answers.answer", "visits.error", "threads.input"}
    assert {f"vertebra_{column}" for column in journaled} | {"vertebra_threads.error", "the file"} <= found
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
        assert [edge async for edge in it.history("t")]
        assert (await it.verify("t")).ok
        store = it.services.store
        (call,) = [call for call in await store.journal.calls("t") if call.kind == "llm"]
        assert WORD in (call.request or "")
        assert [item["detail"]["fields"] for item in await store.journal.interventions("t")] == [["sent"]]
        fork = await it.fork("t", thread_id="fork")
        assert fork.output.notes == state.notes
        (inherited,) = [call for call in await store.journal.calls("fork") if call.kind == "llm"]
        assert (inherited.key.request_hash, inherited.answer) == (call.key.request_hash, call.answer)
        again = await it.fork("t", at=[edge async for edge in it.history("t")][3].config["configurable"]["checkpoint_id"])
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


TAMPERED = {
    "a flipped bit": "UPDATE vertebra_answers SET answer = substr(answer, 1, 80) || 'AAAA' WHERE thread = 'a'",
    "plain content": "UPDATE vertebra_answers SET answer = '\"yes\"' WHERE thread = 'a'",
    "another thread's": "UPDATE vertebra_answers SET answer = "
    "(SELECT o.answer FROM vertebra_answers o WHERE o.thread = 'b') WHERE thread = 'a'",
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_a_tampered_answer_is_refused(durable_url: str, how: str) -> None:
    async with app(durable_url) as it:
        await live(it, "a")
        await live(it, "b")
        execute(durable_url, TAMPERED[how])
        with pytest.raises(ContentTampered, match=r"vertebra_answers"):
            await it.services.store.runs.answers("a")
        assert await it.services.store.runs.answers("b")


SWAPPED = (
    ("threads", "thread", ("input", "error")),
    ("calls", "thread", ("request", "answer_body", "answer_headers", "attempts")),
    ("visits", "thread", ("error",)),
    ("interventions", "thread", ("detail",)),
)


@pytest.mark.parametrize(("table", "column"), [(table, column) for table, _, all_ in SWAPPED for column in all_])
async def test_no_value_opens_in_another_thread(durable_url: str, table: str, column: str) -> None:
    async with app(durable_url) as it:
        for thread in ("a", "b"):
            await live(it, thread)
            await mend(it, thread) if table == "interventions" else None
        store = it.services.store
        reads = {
            "threads": lambda: store.runs.require("a"),
            "calls": lambda: store.journal.calls("a"),
            "visits": lambda: store.journal.visits("a"),
            "interventions": lambda: store.journal.interventions("a"),
        }
        assert await reads[table]()
        (other,) = execute(
            durable_url, f"SELECT {column} FROM vertebra_{table} WHERE thread = 'b' AND {column} IS NOT NULL LIMIT 1"
        )[:1]
        changed = f"UPDATE vertebra_{table} SET {column} = ? WHERE thread = 'a' AND {column} IS NOT NULL"
        execute(durable_url, changed, other[0])
        with pytest.raises(ContentTampered, match=f"{column}"):
            await reads[table]()
        with pytest.raises(ContentTampered):
            await store.recordings.read("a") if table in ("calls", "interventions") else await reads[table]()


async def test_requests_are_found_by_digests_that_no_stranger_can_make(durable_url: str) -> None:
    async with app(durable_url) as it:
        await live(it, "a")
        await live(it, "b")
        (a,), (b,) = [
            [call for call in await it.services.store.journal.calls(thread) if call.kind == "llm"]
            for thread in ("a", "b")
        ]
    assert a.key.request_hash == b.key.request_hash, "the same was asked"
    rows = execute(durable_url, "SELECT request_hash FROM vertebra_calls WHERE endpoint LIKE '%chat%'")
    assert len({row[0] for row in rows}) == 2, "and nobody sees that"
    assert a.key.request_hash not in {row[0] for row in rows}


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

    with open_checkpointer("memory://") as store, pytest.raises(UsageError, match="not encrypted"):
        open_checkpointer(store, encryption=KEY)
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
