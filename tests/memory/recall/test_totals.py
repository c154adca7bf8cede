"""What a search need not count or read again: it is exact, whoever adds and removes, and no writer is waited for."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from tests.memory.parts import user
from vertebra import open_memory
from vertebra.databases import StoreUrl, open_database
from vertebra.memory import HashingEmbedder
from vertebra.memory.migrations import migrate
from vertebra.memory.recall import matrix
from vertebra.memory.recall.totals import Totals


def test_a_search_reads_while_another_process_writes(sqlite_url: str) -> None:
    with open_memory(sqlite_url, embedder=HashingEmbedder(8)) as memory:
        memory.conversation("c").append_sync(user("cough"))
        memory.embed_pending_sync()
        with closing(sqlite3.connect(StoreUrl.parse(sqlite_url).path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            for mode in ("text", "vectors", "both"):
                assert len(memory.search_sync("cough", mode=mode)) == 1  # type: ignore[arg-type]
            writer.execute("ROLLBACK")


async def test_what_only_reads_sees_what_was_written(store_url: str) -> None:
    database = open_database(StoreUrl.parse(store_url))
    migrate(database)
    count = "SELECT count(*) FROM vertebra_memory_schema"
    assert (await database.read(lambda tx: tx.one(count))) == database.read_sync(lambda tx: tx.one(count))
    with pytest.raises(ZeroDivisionError):
        database.read_sync(lambda tx: 1 // 0)
    database.run_sync(lambda tx: tx.execute("INSERT INTO vertebra_memory_schema (version) VALUES (998)"))
    assert database.read_sync(lambda tx: tx.one("SELECT max(version) FROM vertebra_memory_schema"))[0] == 998  # type: ignore[index]
    database.close()


def test_totals_follow_whoever_adds_and_removes(shared_url: str) -> None:
    chance, totals = random.Random(3), Totals()
    with open_memory(shared_url) as ours, open_memory(shared_url) as theirs:
        for number in range(40):
            memory, id = chance.choice((ours, theirs)), str(chance.randrange(4))
            if chance.random() < 0.25:
                memory.conversation(id, tenant="t").delete_sync()
            else:
                memory.conversation(id, tenant="t").append_sync(user("cough " * chance.randrange(1, 9)))
            memory.conversation("c", tenant="u").append_sync(user("night"))
            for tenant in ("t", "u"):
                total = ours.database.read_sync(lambda tx, t=tenant: totals.of(tx, t))  # type: ignore[misc]
                counted = ours.database.read_sync(
                    lambda tx, t=tenant: tx.one(  # type: ignore[misc]
                        "SELECT count(*), coalesce(avg(length), 0) FROM vertebra_memory_entries WHERE tenant = ?", t
                    )
                )
                assert counted is not None
                assert (total.entries, total.mean_length) == (int(counted[0]), pytest.approx(float(counted[1]))), number


@pytest.mark.parametrize("block", [1, 4, 1024])
def test_a_matrix_that_grows_is_what_is_compared(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BLOCK", block)
    monkeypatch.setattr(matrix, "FIRST_BLOCK", 2)
    draw = np.random.default_rng(1)
    rows = draw.standard_normal((50, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    growing, shown = matrix._Growing(8, 0), []
    done = 0
    for size in (0, 1, 2, 5, 1, 20, 21):
        numbers = list(range(done + 1, done + size + 1))
        growing.add(numbers, [10 * number for number in numbers], rows[done : done + size])
        done += size
        shown.append((done, growing.shown()))
    for count, view in shown:
        assert len(view) == count
        cosines = view.cosines(rows[0])
        assert cosines == pytest.approx(rows[:count] @ rows[0], abs=1e-6)
        best = sorted(range(count), key=lambda i: -cosines[i])[:3]
        assert [entry for entry, _ in view.nearest(cosines, 3)] == [10 * (i + 1) for i in best]
        assert [entry for entry, _ in view.nearest(cosines, 9, [20, 30])] == [
            10 * (i + 1) for i in sorted({1, 2} & set(range(count)), key=lambda i: -cosines[i])
        ]
