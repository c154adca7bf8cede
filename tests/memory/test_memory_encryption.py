"""A sealed memory: nothing that was said lies in its database or is moved unseen, and all works as in a plain one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import pytest

from tests.checkpointers.encrypted import columns_with, execute, new_key
from tests.cli.conftest import until
from tests.memory.conftest import KEY
from tests.memory.parts import texts, user
from vertebra import END, START, Context, Graph, effect, open_memory
from vertebra.cli import main
from vertebra.databases.database import Tx
from vertebra.errors import (
    ContentTampered,
    EncryptionKeyMissing,
    EncryptionKeyWrong,
    StoreCorrupt,
    StoreNotEncrypted,
    SubjectHeld,
    UsageError,
)
from vertebra.memory import HashingEmbedder, Memory, content

WORD = "asthmatic"
OTHER = "bronchial"


class Count(TypedDict):
    n: int


def opened(url: str, encryption: Any = KEY) -> Memory:
    return open_memory(url, encryption=encryption, embedder=HashingEmbedder(16))


def filled(memory: Memory) -> None:
    """The word everywhere, in two of each kind."""
    for id in ("a", "b"):
        talk = memory.conversation(id, subject="p", tenant="t")
        talk.append_sync(user(f"He is {WORD}, since {OTHER} times, {id}."), key=f"{id}/1")
        talk.append_sync({"role": "assistant", "content": f"{WORD}?"})
        talk.set_title_sync(f"{WORD} {id}")
        talk.add_summary_sync(f"An {WORD} person, {id}", upto=2)
        memory.facts(id, tenant="t").learn_sync(f"is {WORD}", {WORD: id}, key="1")
        memory.release_sync(memory.hold_sync(id, reason=f"{WORD} case {id}", by="b", tenant="t").id, by="b", tenant="t")
        memory.facts(f"gone-{id}", tenant="t").learn_sync("x", WORD)
        memory.forget_sync(f"gone-{id}", reason=f"not {WORD}", by="b", tenant="t")
        store = memory.store(tenant="t", index={"dims": 16, "embed": HashingEmbedder(16).embed, "fields": ["$"]})
        store.put(("people", id), "illness", {"is": WORD, "of": id})
    memory.embed_pending_sync(tenant="t")


def test_no_column_and_no_file_has_a_word(durable_url: str, tmp_path: Path) -> None:
    plain = f"sqlite:////{str(tmp_path).lstrip('/')}/plain.db"
    with opened(plain, None) as memory:
        filled(memory)
        found = columns_with(plain)
    assert {f"{one.table}.{one.name}" for one in content.COLUMNS if not one.name.startswith("vector")} <= found
    assert {"vertebra_memory_facts.predicate", "vertebra_memory_entries.tokens", "the file"} <= found
    with opened(durable_url) as memory:
        assert memory.encrypted
        filled(memory)
        for word in (WORD, OTHER):
            assert columns_with(durable_url, word) == set(), "while it is open: the log, too"
    assert columns_with(durable_url) == set()


def test_no_vector_lies_in_plain(durable_url: str) -> None:
    with opened(durable_url) as memory:
        filled(memory)
    column = "sealed" if "postgres" in durable_url else "vector"
    for table, name in (("vectors", column), ("item_vectors", "vector")):
        rows = execute(durable_url, f"SELECT {name} FROM vertebra_memory_{table}")
        assert rows
        assert all(bytes(row[0]).startswith(b"\xfeVTS") for row in rows)
    if column == "sealed":
        assert execute(durable_url, "SELECT DISTINCT vector FROM vertebra_memory_vectors") == [([],)]


def test_it_tells_in_another_process_what_a_plain_one_tells(durable_url: str, tmp_path: Path) -> None:
    plain = f"sqlite:////{str(tmp_path).lstrip('/')}/plain.db"
    with opened(plain, None) as memory:
        filled(memory)
    with opened(plain, None) as memory, opened(durable_url) as sealed:
        lines = list(memory.export_lines_sync(tenant="t"))
        sealed.import_lines_sync(lines, tenant="t")
    with opened(plain, None) as memory, opened(durable_url) as sealed:
        assert list(sealed.export_lines_sync(tenant="t")) == lines
        assert WORD in lines[0]
        assert sealed.import_lines_sync(lines, tenant="t").unchanged == 2
        for question in (WORD, f"is he {OTHER}", "since times", "nowhere", "東京"):
            one, other = (
                [
                    (hit.conversation, hit.id, hit.text_rank, hit.text_score, hit.snippet)
                    for hit in it.search_sync(question, tenant="t", mode="text")
                ]
                for it in (memory, sealed)
            )
            assert one == other
        sealed.embed_pending_sync(tenant="t")
        assert [hit.similarity for hit in sealed.search_sync(WORD, tenant="t", mode="vectors", limit=2)] == [
            pytest.approx(hit.similarity) for hit in memory.search_sync(WORD, tenant="t", mode="vectors", limit=2)
        ]


def test_the_index_tells_neither_the_order_of_words_nor_what_tenants_have_in_common(durable_url: str) -> None:
    def kept(memory: Memory, tenant: str, text: str) -> str:
        talk = memory.conversation("c", tenant=tenant)
        talk.append_sync(user(text))
        (found,) = execute(
            durable_url,
            "SELECT tokens FROM vertebra_memory_entries WHERE tenant = ? ORDER BY entry DESC LIMIT 1",
            tenant,
        )[0]
        return str(found)

    with opened(durable_url) as memory:
        assert kept(memory, "t", "night cough") == kept(memory, "t", "cough, night")
        assert not set(kept(memory, "t", "night cough").split()) & set(kept(memory, "u", "night cough").split())
        assert memory.search_sync("coughs", tenant="t").hits, "endings of plurals are known"
        assert not memory.search_sync("cou", tenant="t").hits, "a digest has no beginning"


def test_a_missing_and_a_wrong_key_are_told_at_the_door(durable_url: str) -> None:
    with opened(durable_url) as memory:
        filled(memory)
    with pytest.raises(EncryptionKeyMissing) as missing:
        open_memory(durable_url)
    with pytest.raises(EncryptionKeyWrong) as wrong:
        opened(durable_url, new_key())
    for error in (missing.value, wrong.value):
        assert error.remedy
        assert KEY not in str(error)


def test_plain_and_sealed_rows_are_never_mixed(durable_url: str) -> None:
    with opened(durable_url, None) as memory:
        memory.store().put(("a",), "b", {})
        with pytest.raises(UsageError):
            memory.rekey()
    with pytest.raises(StoreNotEncrypted) as refused:
        opened(durable_url)
    assert "import" in (refused.value.remedy or "")


def test_who_opened_an_empty_memory_without_a_key_writes_nothing_plain_once_it_has_one(durable_url: str) -> None:
    with opened(durable_url, None) as plain, opened(durable_url) as sealed:
        for write in (
            lambda: plain.conversation("a").append_sync(user(WORD)),
            lambda: plain.facts("a").learn_sync("is", WORD),
            lambda: plain.store().put(("a",), "b", {"is": WORD}),
            lambda: plain.hold_sync("a", reason=WORD, by="b"),
        ):
            with pytest.raises(EncryptionKeyMissing):
                write()
        sealed.conversation("a").append_sync(user(WORD))
    assert columns_with(durable_url) == set()


def test_a_plain_append_and_the_first_key_are_not_both_written(postgres_url: str) -> None:
    """Who is about to append has looked for keys; the first key waits for him, and finds what he wrote."""
    looked, go_on = threading.Event(), threading.Event()

    def append(memory: Memory) -> None:
        def work(tx: Tx) -> None:
            tx.one("SELECT 1")
            looked.set()
            assert go_on.wait(20)
            tx.execute(
                "INSERT INTO vertebra_memory_conversations (tenant, id, title, created_at, updated_at) "
                "VALUES ('', 'c', ?, 0, 0)",
                WORD,
            )

        memory.database.run_sync(work)

    with opened(postgres_url, None) as plain, ThreadPoolExecutor(2) as threads:
        appending = threads.submit(append, plain)
        assert looked.wait(20)
        sealing = threads.submit(lambda: opened(postgres_url).close())
        until(
            lambda: execute(postgres_url, "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted")
        )
        go_on.set()
        appending.result(20)
        with pytest.raises(StoreNotEncrypted):
            sealing.result(20)


def test_keys_rotate(durable_url: str) -> None:
    old, new = new_key(), new_key()
    with opened(durable_url, old) as memory:
        filled(memory)
    with opened(durable_url, [new, old]) as memory:
        memory.conversation("a", tenant="t").append_sync(user(f"Still {WORD}."))
        assert (memory.rekey(), memory.rekey()) == (2, 0)
    with opened(durable_url, new) as memory:
        assert len(memory.conversation("a", tenant="t").messages_sync()) == 3
        found = [hit.kind for hit in memory.search_sync(WORD, tenant="t", mode="text")]
        assert (found.count("message"), found.count("summary")) == (5, 2)
    with pytest.raises(EncryptionKeyWrong):
        opened(durable_url, old)


_REKEY_AND_DIE = """
import sys
from vertebra import open_memory
from vertebra.testing import crash_at
with open_memory(sys.argv[1], encryption=sys.argv[2]) as memory, crash_at(sys.argv[3], nth=int(sys.argv[4])):
    memory.rekey()
"""


def test_a_rekey_that_is_killed_leaves_one_key_or_the_other_and_is_done_again(durable_url: str) -> None:
    old, new = new_key(), new_key()
    with opened(durable_url, old) as memory:
        filled(memory)
        said = memory.conversation("a", tenant="t").messages_sync()
    opened(durable_url, [new, old]).close()  # seals under a new key from now on
    for point, nth, still_old in (("rekey.key", 1, True), ("rekey.key", 2, True), ("rekey.wrapped", 1, False)):
        command = [sys.executable, "-c", _REKEY_AND_DIE, durable_url, f"{new},{old}", point, str(nth)]
        assert subprocess.run(command, timeout=60).returncode == -9, (point, nth)
        wrapped = {row[0] for row in execute(durable_url, "SELECT wrapped_by FROM vertebra_memory_keys")}
        assert len(wrapped) == 1 + still_old, "all are wrapped anew, or none"
        with opened(durable_url, [new, old]) as memory:
            assert memory.conversation("a", tenant="t").messages_sync() == said
    with opened(durable_url, [new, old]) as memory:
        assert memory.rekey() == 0, "and empties the log"
    with opened(durable_url, new) as memory:
        assert memory.conversation("a", tenant="t").messages_sync() == said
    with pytest.raises(EncryptionKeyWrong):
        opened(durable_url, old)


READS: dict[str, Any] = {
    "messages": lambda memory: memory.conversation("a", tenant="t").messages_sync(),
    "conversations": lambda memory: memory.conversation("a", tenant="t").record_sync(),
    "summaries": lambda memory: memory.conversation("a", tenant="t").summaries_sync(),
    "facts": lambda memory: memory.facts("a", tenant="t").history_sync(),
    "holds": lambda memory: memory.holds_sync(subject="a", released=True, tenant="t"),
    "receipts": lambda memory: memory.receipts_sync(subject="gone-a", tenant="t"),
    "items": lambda memory: memory.store(tenant="t").get(("people", "a"), "illness"),
    "item_vectors": lambda memory: memory.store(
        tenant="t", index={"dims": 16, "embed": HashingEmbedder(16).embed}
    ).search(("people", "a"), query="x"),
    "vectors": lambda memory: memory.search_sync(WORD, tenant="t", mode="vectors"),
}


@pytest.mark.parametrize("column", content.COLUMNS, ids=lambda column: column.table.removeprefix("vertebra_memory_"))
def test_no_value_opens_elsewhere_or_changed(durable_url: str, column: content.Column) -> None:
    with opened(durable_url) as memory:
        filled(memory)
    read = READS[column.table.removeprefix("vertebra_memory_")]
    is_sqlite = "sqlite" in durable_url
    name = "sealed" if column is content.VECTOR and not is_sqlite else column.name
    rows = [
        bytes(row[0]) if isinstance(row[0], memoryview) else row[0]
        for row in execute(durable_url, f"SELECT {name} FROM {column.table} WHERE {name} IS NOT NULL")
    ]
    assert len(rows) == len(set(rows)) >= 2
    plain = b"plain" if isinstance(rows[0], bytes) else '"plain"'
    wrong: list[Any] = [*reversed(rows[1:]), plain, rows[0][: len(rows[0]) // 2], rows[0][:-4] + rows[0][:4]]
    if is_sqlite:  # keeps any type in any column
        wrong += [7, 10**15, "x" if isinstance(rows[0], bytes) else b"x", b"\xfeVTS"]
    for stored in wrong:
        for row in rows:
            execute(durable_url, f"UPDATE {column.table} SET {name} = ? WHERE {name} = ?", stored, row)
        with opened(durable_url) as memory, pytest.raises(ContentTampered):
            read(memory)
        execute(durable_url, f"UPDATE {column.table} SET {name} = ? WHERE {name} = ?", rows[0], stored)
        rows = [rows[0]]


def test_a_spoiled_row_keeps_nobody_from_being_forgotten(durable_url: str, encryption: str | None) -> None:
    with opened(durable_url, encryption) as memory:
        filled(memory)
        execute(durable_url, "UPDATE vertebra_memory_messages SET message = 'spoiled' WHERE conversation = 'a'")
        execute(durable_url, "UPDATE vertebra_memory_messages SET role = 'tool' WHERE conversation = 'a' AND id = 2")
        held = memory.hold_sync("held", reason="case 1", by="b", tenant="t")
        again = memory.facts("gone-a", tenant="t")
        again.learn_sync("x", WORD)
        execute(durable_url, "UPDATE vertebra_memory_holds SET reason = 'spoiled'")
        execute(durable_url, "UPDATE vertebra_memory_receipts SET reason = 'spoiled', ended_at = NULL")
        with pytest.raises(SubjectHeld) as told:
            memory.forget_sync("held", reason="r", by="b", tenant="t")
        assert told.value.context["holds"] == [held.id]
        assert memory.forget_sync("gone-a", reason="r", by="b", tenant="t").ended_at is not None
        assert again.history_sync() == []
        assert memory.forget_sync("p", reason="r", by="b", tenant="t").removed["messages"] == 4
        for id in ("a", "b"):
            assert texts(memory.conversation(id, tenant="t").messages_sync()) == ["[forgotten]"] * 2


@pytest.mark.parametrize("table", ["messages", "facts", "items"])
def test_a_row_of_a_plain_memory_that_is_no_json_is_told(durable_url: str, table: str) -> None:
    with opened(durable_url, None) as memory:
        filled(memory)
        column = next(one for one in content.COLUMNS if one.table == f"vertebra_memory_{table}")
        for stored in ("{", "[" * 100_000, '{"role": "nobody"}' if table == "messages" else "nan"):
            execute(durable_url, f"UPDATE {column.table} SET {column.name} = ?", stored)
            with pytest.raises(StoreCorrupt, match=table) as told:
                READS[table](memory)
            assert WORD not in str(told.value)


def test_what_nodes_append_lies_nowhere_in_plain(durable_url: str, sqlite_url: str) -> None:
    kept = durable_url if "postgres" in durable_url else durable_url.replace("threads.db", "memory.db")

    @effect
    async def note(state: Count, ctx: Context) -> dict[str, Any]:
        talk = ctx.memory.conversation("c", subject="p")
        await talk.append(user(f"I am {WORD}."))
        window = await talk.window(max_tokens=100)
        return {"n": len(window.messages)}

    graph = Graph(Count, name="notes", version="1")
    graph.add_edge(START, note)
    graph.add_edge(note, END)
    for _ in range(2):
        with graph.compile(checkpointer=sqlite_url, memory=kept, encryption=KEY) as app:
            assert app.run_sync({"n": 0}).status == "done"
    assert columns_with(kept) == columns_with(sqlite_url) == set()
    with opened(kept) as memory:
        assert texts(memory.conversation("c").messages_sync()) == [f"I am {WORD}."] * 2
    with pytest.raises(EncryptionKeyMissing):
        graph.compile(checkpointer="memory://", memory=kept)


def test_the_command_reads_the_key_from_its_environment(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(sqlite_url) as memory:
        filled(memory)
    command = ["memory", "show", "a", "--tenant", "t", "--memory", sqlite_url, "--json"]
    assert main(command) == 5
    assert "VERTEBRA_ENCRYPTION_KEY" in capsys.readouterr().out
    monkeypatch.setenv("VERTEBRA_ENCRYPTION_KEY", KEY)
    assert main(command) == 0
    assert WORD in json.loads(capsys.readouterr().out)["messages"][0]["message"]["content"]
