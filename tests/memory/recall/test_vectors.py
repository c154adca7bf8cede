"""Recall by meaning: vectors are made later, each text once, by embedders that are told apart."""

from __future__ import annotations

import asyncio
import contextvars
import math
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.memory.parts import user
from vertebra import open_memory
from vertebra.databases import StoreUrl, open_database
from vertebra.errors import EmbedderMismatch, EmbeddingInvalid, UsageError
from vertebra.memory import Embedded, HashingEmbedder, Memory
from vertebra.memory.recall import nearest, pending, searching


class Compass:
    """Two dimensions: the direction that a text names, in degrees; counts what it was asked."""

    dimensions = 2

    def __init__(self, name: str = "compass") -> None:
        self.name = name
        self.asked: Counter[str] = Counter()
        self.threads: set[str] = set()

    def embed(self, texts: Sequence[str]) -> list[tuple[float, float]]:
        self.asked.update(texts)
        self.threads.add(threading.current_thread().name)
        angles = [math.radians(float(text)) for text in texts]
        return [(3 * math.cos(angle), 3 * math.sin(angle)) for angle in angles]


def say(memory: Memory, *texts: object, id: str = "c", **place: Any) -> None:
    for text in texts:
        memory.conversation(id, **place).append_sync(user(str(text)))


def near(memory: Memory, query: object, **bounds: Any) -> list[str]:
    return [str(hit.snippet) for hit in memory.search_sync(str(query), mode="vectors", **bounds)]


@pytest.fixture
def compass(recall_url: str) -> Any:
    with open_memory(recall_url, embedder=Compass()) as memory:
        yield memory


def test_appends_call_no_embedder_and_are_counted_as_waiting(compass: Memory) -> None:
    say(compass, 0, 90, 180, tenant="t", subject="ann")
    say(compass, 10, id="d", tenant="t")
    assert compass.embedder.asked == {}  # type: ignore[union-attr]
    result = compass.search_sync("90", tenant="t")
    assert ([str(hit.snippet) for hit in result], result.waiting, result.mode) == (["90"], 4, "both")
    assert compass.search_sync("90", tenant="t", subject="ann").waiting == 3
    assert compass.embed_pending_sync(tenant="t", limit=3, batch=2) == Embedded(3, 1)
    assert compass.search_sync("90", tenant="t", subject="ann").waiting == 0
    assert compass.embed_pending_sync(tenant="u") == Embedded(0, 0)
    assert compass.embed_pending_sync(tenant="t") == Embedded(1, 0)
    assert compass.embed_pending_sync(tenant="t") == Embedded(0, 0)
    assert compass.search_sync("90", tenant="t").waiting == 0


def test_the_nearest_come_first_within_every_bound(compass: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "AT_FIRST", 3)
    monkeypatch.setattr(searching, "DEPTH", 2)
    say(compass, 0, 90, 180, 40, 60, tenant="t", subject="ann")
    say(compass, 10, 100, id="d", tenant="t", subject="bob")
    compass.embed_pending_sync(tenant="t")
    assert near(compass, 51, tenant="t", limit=4) == ["60", "40", "90", "10"]
    assert near(compass, 6, tenant="t", limit=3) == ["10", "0", "40"]
    assert near(compass, 50, tenant="t", subject="bob") == ["10", "100"]
    assert near(compass, 170, tenant="t", conversation="c", limit=2) == ["180", "90"]
    assert near(compass, 50, tenant="u") == near(compass, 50, tenant="t", subject="eve") == []
    (hit, *_) = compass.search_sync("90", mode="vectors", tenant="t", limit=1)
    assert (hit.text_rank, hit.vector_rank, hit.score) == (None, 1, pytest.approx(1 / 61))
    assert hit.similarity == pytest.approx(1.0)


def test_both_rankings_are_made_one(compass: Memory) -> None:
    say(compass, 90, 88, 270)
    compass.embed_pending_sync()
    hits = compass.search_sync("90").hits
    assert [str(hit.snippet) for hit in hits] == ["90", "88", "270"]
    assert [(hit.text_rank, hit.vector_rank) for hit in hits] == [(1, 1), (None, 2), (None, 3)]
    assert hits[0].score == pytest.approx(2 / 61)


def test_common_words_do_not_outweigh_meanings_and_a_rare_one_does(recall_url: str) -> None:
    class Topics(Compass):
        """Animals are one direction, the weather another, whatever words they are in."""

        def embed(self, texts: Sequence[str]) -> list[tuple[float, float]]:
            return [(1.0, 0.01) if "dog" in text or "beagle" in text else (0.01, 1.0) for text in texts]

    with open_memory(recall_url, embedder=Topics()) as memory:
        say(
            memory, "we adopted a beagle", *(f"my umbrella is wet, {number}" for number in range(30)), "the key is zx81"
        )
        memory.embed_pending_sync()
        both = [hit.id for hit in memory.search_sync("what is the name of my dog", limit=5)]
        assert 1 in both, "though thirty entries share a word with the question"
        assert [hit.id for hit in memory.search_sync("a dog called zx81", limit=2)].count(32) == 1, "by its one word"


def test_what_is_new_and_what_is_gone_is_seen_by_who_has_read_the_vectors_before(shared_url: str) -> None:
    with open_memory(shared_url, embedder=Compass()) as reader, open_memory(shared_url, embedder=Compass()) as writer:
        for number in range(20):
            say(writer, number, id=str(number % 4))
            writer.embed_pending_sync()
            assert near(reader, number, limit=1) == [str(number)]
        assert writer.conversation("3").delete_sync()
        assert near(reader, 19, limit=2) == ["18", "17"]
        say(writer, 19, id="3")
        assert near(reader, 19, limit=1) == ["18"]
        writer.embed_pending_sync()
        assert near(reader, 19, limit=1) == ["19"]


def test_vectors_of_two_embedders_stand_beside_each_other_and_are_never_compared(shared_url: str) -> None:
    old, new = Compass("old"), Compass("new")
    with open_memory(shared_url, embedder=old) as first, open_memory(shared_url, embedder=new) as second:
        say(first, 0, 90)
        first.embed_pending_sync()
        with pytest.raises(EmbedderMismatch, match=r"'new', but by 'old'.*embed_pending"):
            second.search_sync("0")
        assert [hit.id for hit in second.search_sync("0", mode="text")] == [1]
        assert second.embed_pending_sync(limit=1) == Embedded(1, 1)
        assert near(second, 80) == ["0"]
        assert near(first, 80) == ["90", "0"]
        assert second.embed_pending_sync(limit=0, drop_others=True) == Embedded(0, 1)
        assert near(first, 80) == ["90", "0"]
        assert second.embed_pending_sync(drop_others=True) == Embedded(1, 0)
        assert near(second, 80) == ["90", "0"]
        with pytest.raises(EmbedderMismatch):
            first.search_sync("0")
    longer = Compass("new")
    longer.dimensions = 3
    with open_memory(shared_url, embedder=longer) as third, pytest.raises(EmbedderMismatch, match="2 dimensions"):
        third.embed_pending_sync()


@pytest.mark.parametrize(
    "given", [[], [[1.0]], [[1.0, 2.0, 3.0]], [["a", "b"]], [[math.nan, 0.0]], [[math.inf, 0.0]], None, [1.0, 2.0]]
)
def test_what_is_no_vector_is_refused_and_nothing_is_kept(given: Any) -> None:
    class Broken(Compass):
        def embed(self, texts: Sequence[str]) -> Any:
            return given

    with open_memory("memory://", embedder=Broken()) as memory:
        say(memory, 1)
        for _ in range(2):
            with pytest.raises(EmbeddingInvalid):
                memory.embed_pending_sync()
        with pytest.raises(EmbeddingInvalid):
            memory.search_sync("1")
        assert memory.search_sync("1", mode="text").hits


def test_an_embedder_that_fails_leaves_its_batch_to_the_next(compass: Memory) -> None:
    say(compass, 0, 1, 2, "not a number", 3)
    for _ in range(2):
        with pytest.raises(ValueError, match="not a number"):
            compass.embed_pending_sync(batch=2)
    assert compass.embedder.asked == {"0": 1, "1": 1, "2": 2, "not a number": 2}  # type: ignore[union-attr]
    assert near(compass, 1, limit=1) == ["1"]


def test_without_an_embedder_both_is_text_and_vectors_is_refused() -> None:
    with open_memory("memory://") as memory:
        say(memory, "cough")
        result = memory.search_sync("cough")
        assert (len(result), result.mode, result.waiting) == (1, "text", None)
        for call in (lambda: memory.search_sync("cough", mode="vectors"), memory.embed_pending_sync):
            with pytest.raises(UsageError, match="embedder"):
                call()  # type: ignore[operator]
    with open_memory("memory://", embedder=Compass()) as memory:
        for wrong in ({"batch": 0}, {"limit": -1}):
            with pytest.raises(UsageError):
                memory.embed_pending_sync(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        HashingEmbedder(0)


def test_indexers_at_once_give_each_text_to_one_of_them(shared_url: str) -> None:
    embedder = Compass()
    with open_memory(shared_url, embedder=embedder) as memory:
        say(memory, *range(60))

        def index(_: int) -> int:
            with open_memory(shared_url, embedder=embedder) as mine:
                return mine.embed_pending_sync(batch=3).embedded

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(index, range(4))) == 60
        assert embedder.asked == {str(number): 1 for number in range(60)}
        assert memory.embed_pending_sync() == Embedded(0, 0)
        assert near(memory, 30, limit=3)[0] == "30"


def test_what_is_deleted_while_it_is_embedded_leaves_no_vector(shared_url: str) -> None:
    class Slow(Compass):
        def embed(self, texts: Sequence[str]) -> Any:
            with open_memory(shared_url) as other:
                if other.conversation("gone").delete_sync():
                    say(other, 7, id="anew")
            return super().embed(texts)

    with open_memory(shared_url, embedder=Slow()) as memory:
        say(memory, 5, id="gone")
        say(memory, 6, id="stays")
        assert memory.embed_pending_sync(limit=2) == Embedded(2, 0)
    database = open_database(StoreUrl.parse(shared_url))
    rows = database.run_sync(
        lambda tx: tx.all(
            "SELECT e.conversation FROM vertebra_memory_vectors v "
            "LEFT JOIN vertebra_memory_entries e ON e.entry = v.entry"
        )
    )
    assert sorted(row[0] for row in rows) == ["anew", "stays"]
    database.close()


_INDEX = """
import sys, time
from vertebra import open_memory
class Slow:
    name, dimensions, done = "compass", 2, 0
    def embed(self, texts):
        self.done += 1
        if self.done == 3:
            print("third", flush=True)
            time.sleep(60)
        return [[1.0, float(text)] for text in texts]
with open_memory(sys.argv[1], embedder=Slow()) as memory:
    memory.embed_pending_sync(batch=4)
"""


def test_an_indexer_that_is_killed_keeps_its_batches_and_its_claim_runs_out(
    shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(shared_url, embedder=Compass()) as memory:
        say(memory, *range(20))
        process = subprocess.Popen([sys.executable, "-c", _INDEX, shared_url], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "third\n"
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()
        # The third batch is claimed yet: others leave it, and say so.
        assert memory.embed_pending_sync() == Embedded(8, 4)
        assert memory.embed_pending_sync() == Embedded(0, 4)
        database = open_database(StoreUrl.parse(shared_url))
        late = "UPDATE vertebra_memory_claims SET until = until - ?"
        assert database.run_sync(lambda tx: tx.execute(late, pending.CLAIM_S)) == 4
        database.close()
        assert memory.embed_pending_sync() == Embedded(4, 0)
        assert len(near(memory, 1, limit=50)) == 20


async def test_the_embedder_runs_on_a_thread_with_the_callers_context(compass: Memory) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen = []

    class Watching(Compass):
        def embed(self, texts: Sequence[str]) -> Any:
            seen.append((variable.get(None), threading.current_thread() is threading.main_thread()))
            return super().embed(texts)

    with open_memory("memory://", embedder=Watching()) as memory:
        say(memory, *range(4))
        variable.set("mine")
        counts = await asyncio.gather(*(memory.embed_pending(batch=2) for _ in range(3)))
        assert sum(count.embedded for count in counts) == 4
        results = await asyncio.gather(*(memory.search("3", limit=1) for _ in range(5)))
        assert [[str(hit.snippet) for hit in result] for result in results] == [["3"]] * 5
    assert set(seen) == {("mine", False)}


def test_pgvector_is_used_where_it_is(pgvector_url: str) -> None:
    database = open_database(StoreUrl.parse(pgvector_url))
    assert database.run_sync(nearest.has_pgvector)
    database.close()
    with open_memory(pgvector_url, embedder=Compass()) as memory:
        say(memory, 1, 2)
        memory.embed_pending_sync()
        assert near(memory, 2) == ["2", "1"]
        assert memory._searcher._matrices._kept == {}


def test_the_hashing_embedder_is_the_same_everywhere() -> None:
    (vector,) = HashingEmbedder(8).embed(["the cough, the night"])
    assert vector == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, -2.0]
    assert HashingEmbedder(8).embed(["?!"]) == [[0.0] * 8]
    assert HashingEmbedder(32).name == "hashing-32"


def test_without_numpy_words_are_found_and_meanings_ask_for_the_extra() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from vertebra import open_memory\n"
        "from vertebra.errors import MissingExtra\n"
        "from vertebra.memory import HashingEmbedder\n"
        "memory = open_memory('memory://', embedder=HashingEmbedder())\n"
        "memory.conversation('c').append_sync({'role': 'user', 'content': 'cough'})\n"
        "print(len(memory.search_sync('cough', mode='text')))\n"
        "for call in (memory.embed_pending_sync, lambda: memory.search_sync('cough')):\n"
        "    try: call()\n"
        "    except MissingExtra as error: print(error.remedy)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert told == ["1"] + ["pip install 'vertebra[recall]'"] * 2
