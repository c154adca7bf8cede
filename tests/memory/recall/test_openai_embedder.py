"""The embedder that asks ``/embeddings``: against a real HTTP server, in nodes through the door, and killed there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import vertebra
from tests.memory.parts import user
from vertebra import END, START, Append, Context, Graph, llm, open_memory
from vertebra.errors import EmbeddingInvalid, ProviderRefused, ProviderUnreachable, UsageError
from vertebra.memory import Embedded, OpenAIEmbedder
from vertebra.memory.recall import openai_embedder
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel, crash_at
from vertebra.testing.exchange import Asked


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    with ScriptedModel() as scripted:
        for name, value in scripted.env().items():
            monkeypatch.setenv(name, value)
        yield scripted


def paid(model: ScriptedModel) -> int:
    return sum(entry.paid and entry.path.endswith("/embeddings") for entry in model.books)


def test_texts_come_back_as_vectors_in_their_order(model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_embedder, "BATCH", 2)
    embedder = OpenAIEmbedder("e", 8)
    assert embedder.name == "openai/e/8"
    one, two, same, blank = embedder.embed(["one", "two", "one", ""])
    assert one == same
    assert len({tuple(one), tuple(two), tuple(blank)}) == 3
    assert paid(model) == 2
    (shorter,) = OpenAIEmbedder("text-embedding-3-small", 64).embed(["one"])
    assert len(shorter) == 64
    with open_memory("memory://", embedder=embedder) as memory:
        for text in ("one", "two", "three"):
            memory.conversation("c").append_sync(user(text))
        assert paid(model) == 3, "appends ask nobody"
        assert memory.embed_pending_sync() == Embedded(3, 0)
        assert memory.search_sync("two", mode="vectors").hits[0].id == 2


def refusing(model: ScriptedModel) -> ScriptedModel:
    """With the limits of OpenAI, where each byte is a token: the most that a text can have."""

    def too_much(asked: Asked) -> bool:
        sizes = [len(text.encode()) for text in asked.body["input"]]
        return max(sizes) > 8_192 or sum(sizes) > 300_000 or len(sizes) > 2_048 or min(sizes) == 0

    model.on(too_much).fail(400, times=None)
    return model


def test_no_text_is_too_long_and_no_request_too_large(model: ScriptedModel) -> None:
    refusing(model)
    embedder = OpenAIEmbedder("e", 8)
    with open_memory("memory://", embedder=embedder) as memory:
        talk = memory.conversation("c")
        talk.append_sync(user("long " * 20_000))
        for number in range(80):
            talk.append_sync(user(f"{number} " + "night " * 1_300))
        for letters in ("é", "咳", "🙂", "a咳"):
            talk.append_sync(user(letters * 9_000))
        talk.append_sync(user("cough"))
        assert memory.embed_pending_sync() == Embedded(86, 0), "one that is too long keeps none from being embedded"
        assert memory.search_sync("long " * 20_000, mode="vectors").hits[0].id == 1, "what is asked is cut, too"
    assert {entry.status for entry in model.books} == {200}
    assert paid(model) == 4, "80 texts of 8,000 bytes, or less, and 6 more are three requests; and the question"
    one, other = embedder.embed(["咳" * 2_666, "咳" * 2_667])
    assert one == other, "cut at a letter"


def test_a_server_that_takes_less_is_asked_for_less(model: ScriptedModel) -> None:
    model.on(lambda asked: any(len(text.encode()) > 510 for text in asked.body["input"])).fail(400, times=None)
    with pytest.raises(ProviderRefused):
        OpenAIEmbedder("e", 8).embed(["a" * 600])
    one, other = OpenAIEmbedder("e", 8, max_text_bytes=510).embed(["a" * 600, "a" * 510])
    assert one == other
    with pytest.raises(UsageError):
        OpenAIEmbedder("e", 8, max_text_bytes=0)


def test_what_cannot_be_asked_or_read_is_told_by_its_type(model: ScriptedModel) -> None:
    with pytest.raises(UsageError, match="dimensions="):
        OpenAIEmbedder("e")
    with pytest.raises(UsageError):
        OpenAIEmbedder("e", 0)
    with pytest.raises(EmbeddingInvalid, match="8 dimensions, not 9"):
        OpenAIEmbedder("e", 9).embed(["one"])
    import openai

    elsewhere = openai.OpenAI(base_url=f"{model.base_url}/nowhere", api_key="k", max_retries=0)
    with pytest.raises(ProviderRefused) as refused:
        OpenAIEmbedder("e", 8, client=elsewhere).embed(["one"])
    assert refused.value.context["status"] == 404
    nobody = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0)
    with pytest.raises(ProviderUnreachable, match="then do the same again"):  # there is no thread to resume
        OpenAIEmbedder("e", 8, client=nobody).embed(["one"])


class _Answer:
    def __init__(self, *items: tuple[int, list[float]]) -> None:
        self.data = [type("Item", (), {"index": index, "embedding": vector}) for index, vector in items]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [(0, [1.0])],
        [(0, [1.0]), (0, [1.0])],
        [(0, [1.0]), (2, [1.0])],
        [(0, [1.0]), (1, [1.0]), (1, [1.0])],
        [(0, [1.0]), (1, [1.0, 2.0])],
    ],
)
def test_vectors_that_are_not_one_for_each_text_are_refused(items: list[Any]) -> None:
    embedder = OpenAIEmbedder("e", 1)
    assert embedder._ordered(_Answer((1, [2.0]), (0, [1.0])), 2) == [[1.0], [2.0]]
    with pytest.raises(EmbeddingInvalid):
        embedder._ordered(_Answer(*items), 2)


class Looked(BaseModel):
    seen: Append[str] = []


def searching(url: str, store: str) -> App:
    embedder = OpenAIEmbedder("e", 8, http_client=vertebra.http_client(sync=True))

    @llm
    async def find(state: Looked, ctx: Context) -> dict[str, Any]:
        with open_memory(url, embedder=embedder) as memory:
            await memory.embed_pending(batch=2)
            hits = await memory.search("two", mode="vectors", limit=1)
            await memory.search("four", mode="vectors", limit=1)
            return {"seen": [str(hit.snippet) for hit in hits]}

    g = Graph(Looked, name="searching")
    g.add_edge(START, find).add_edge(find, END)
    return g.compile(checkpointer=store, default_model="m")


@pytest.mark.parametrize(("point", "nth"), [("call.intent", 4), ("call.recorded", 3), ("writes.after", 1)])
def test_killed_in_a_node_and_recovered_no_embedding_is_paid_again(
    model: ScriptedModel, tmp_path: Path, point: str, nth: int
) -> None:
    url, store = f"sqlite:///{tmp_path}/memory.db", f"sqlite:///{tmp_path}/state.db"
    with open_memory(url) as memory:
        for text in ("one", "two", "three"):
            memory.conversation("c").append_sync(user(text))
    pid = os.fork()
    if pid == 0:
        try:
            with crash_at(point, nth=nth):
                asyncio.run(searching(url, store).run({}, thread_id="t"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    with searching(url, store) as app:
        (run,) = app.recover_sync()
        assert (run.status, run.output.seen) == ("done", ["two"])
    keys = Counter(entry.idempotency_key for entry in model.books if entry.paid)
    assert (len(keys), set(keys.values()), None in keys) == (4, {1}, False), "two batches and two questions"


@pytest.mark.parametrize("parted", ["by number", "by size"])
@pytest.mark.parametrize(
    ("point", "nth", "before"), [("call.recorded", 1, 1), ("call.intent", 2, 1), ("call.recorded", 2, 2)]
)
def test_killed_between_the_requests_of_one_embedding_none_is_paid_again(
    model: ScriptedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parted: str,
    point: str,
    nth: int,
    before: int,
) -> None:
    """Six texts are embedded at once, which the embedder parts into three requests."""
    monkeypatch.setattr(openai_embedder, *(("BATCH", 2) if parted == "by number" else ("REQUEST_BYTES", 10)))
    store = f"sqlite:///{tmp_path}/state.db"
    embedder = OpenAIEmbedder("e", 8, http_client=vertebra.http_client(sync=True))

    @llm
    async def embed(state: Looked, ctx: Context) -> dict[str, Any]:
        vectors = embedder.embed(["text1", "text2", "text3", "text4", "text5", "text6"])
        return {"seen": [str(len({tuple(vector) for vector in vectors}))]}

    g = Graph(Looked, name="embedding")
    g.add_edge(START, embed).add_edge(embed, END)
    pid = os.fork()
    if pid == 0:
        try:
            with crash_at(point, nth=nth):
                g.compile(checkpointer=store, default_model="m").run_sync({}, thread_id="t")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    with g.compile(checkpointer=store, default_model="m") as app:
        assert [call.status for call in asyncio.run(app.services.store.journal.calls("t"))].count("done") == before
        (run,) = app.recover_sync()
        assert (run.status, run.output.seen, run.usage["embed"].replayed) == ("done", ["6"], before)
    keys = Counter(entry.idempotency_key for entry in model.books if entry.paid)
    assert (len(keys), set(keys.values()), None in keys) == (3, {1}, False)


def test_openai_is_not_imported_before_a_text_is_embedded() -> None:
    code = (
        "import sys; from vertebra.memory import OpenAIEmbedder; OpenAIEmbedder('e', 8); "
        "import json; print(json.dumps([m for m in ('openai', 'onnxruntime', 'tokenizers') if m in sys.modules]))"
    )
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) == []
