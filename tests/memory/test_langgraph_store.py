"""LangGraph's store: the same cases against LangGraph's own in memory and ours, and what only ours has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedStore, ToolNode
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore, GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from vertebra import Graph, open_memory
from vertebra.errors import UsageError
from vertebra.memory import Memory

WORDS = ("tea", "coffee", "rain", "sun")


def embed(texts: list[str]) -> list[list[float]]:
    """How often each word is there: near is what shares words."""
    return [[float(text.count(word)) for word in WORDS] for text in texts]


INDEX: Any = {"dims": len(WORDS), "embed": embed, "fields": ["text", "more[*]"]}


@pytest.fixture(params=["theirs", "memory", "sqlite", "postgres"])
def stores(request: pytest.FixtureRequest) -> Iterator[tuple[BaseStore, BaseStore]]:
    """One without an index, and one with."""
    if request.param == "theirs":
        yield InMemoryStore(), InMemoryStore(index=INDEX)
        return
    url = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    with open_memory(url) as memory:
        yield memory.store(tenant="plain"), memory.store(tenant="indexed", index=INDEX)


def told(found: list[Any]) -> list[tuple[Any, ...]]:
    return [(item.namespace, item.key, item.value) for item in found]


PEOPLE: list[dict[str, Any]] = [
    {"name": "ann", "age": 30, "at": {"city": "Kyiv", "tags": ["a", "b"]}},
    {"name": "bob", "age": 40, "at": {"city": "Lviv", "tags": []}},
    {"name": "eve", "age": 50, "at": None, "odd": "%_' \u2028"},
]
FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "ann bob eve"),
    ({"name": "bob"}, "bob"),
    ({"age": {"$gt": 30, "$lte": 50}}, "bob eve"),
    ({"age": {"$gte": 30, "$lt": 50}}, "ann bob"),
    ({"age": {"$ne": 40}}, "ann eve"),
    ({"name": {"$eq": "eve"}, "age": 50}, "eve"),
    ({"at": {"city": "Kyiv"}}, "ann"),
    ({"at": {"tags": ["a", "b"]}}, "ann"),
    ({"at": {"city": {"$ne": "Kyiv"}}}, "bob"),
    ({"missing": None}, "ann bob eve"),
    ({"name": "never"}, ""),
]


def test_put_get_delete(stores: tuple[BaseStore, BaseStore]) -> None:
    store, _ = stores
    value = {"b": [1, None, {"c": "NUL \0"}], "a": "Größe"}
    store.put(("a", "b"), "k", value)
    item = store.get(("a", "b"), "k")
    assert item is not None
    assert (item.namespace, item.key, item.value, list(item.value)) == (("a", "b"), "k", value, ["b", "a"])
    assert item.created_at.tzinfo is not None
    assert store.get(("a",), "k") is store.get(("a", "b"), "j") is None
    store.put(("a", "b"), "k", {"now": 1})
    again = store.get(("a", "b"), "k")
    assert again is not None
    assert again.value == {"now": 1}
    assert again.updated_at >= item.updated_at
    store.delete(("a", "b"), "k")
    store.delete(("a", "b"), "k")
    assert store.get(("a", "b"), "k") is None


def test_search_by_prefix_filter_and_page(stores: tuple[BaseStore, BaseStore]) -> None:
    store, _ = stores
    for person in PEOPLE:
        store.put(("people", "x"), person["name"], person)
    for namespace in (("people", "y"), ("people2",), ("people-", "x"), ("peopl",)):
        store.put(namespace, "other", {"name": "other"})
    for wanted, names in FILTERS:
        assert [item.key for item in store.search(("people", "x"), filter=wanted)] == names.split(), wanted
    assert [item.key for item in store.search(("people",))] == ["ann", "bob", "eve", "other"]
    assert [item.key for item in store.search(("people", "x"), limit=2, offset=1)] == ["bob", "eve"]
    assert [item.key for item in store.search(("people", "x"), filter={"age": {"$gt": 30}}, limit=1, offset=1)] == [
        "eve"
    ]
    assert len(store.search(())) == 7
    assert store.search(("nobody",)) == store.search((), limit=0) == []
    assert [item.score for item in store.search(("people",), query="ann")] == [None] * 4
    with pytest.raises(ValueError, match="operator"):
        store.search(("people", "x"), filter={"age": {"$in": [1]}})
    store.put(("people", "x"), "ann", {"name": "new"})
    assert told(store.search(("people", "x"), limit=1)) == [(("people", "x"), "ann", {"name": "new"})]


def test_namespaces(stores: tuple[BaseStore, BaseStore]) -> None:
    store, _ = stores
    for namespace in (("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "c", "f"), ("z",)):
        store.put(namespace, "k", {})
    assert store.list_namespaces(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d")]
    assert store.list_namespaces(prefix=("a", "*", "f")) == [("a", "c", "f")]
    assert store.list_namespaces(suffix=("d", "*")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert store.list_namespaces(prefix=("a",), suffix=("f",)) == [("a", "c", "f")]
    assert store.list_namespaces(limit=2, offset=3) == [("a", "c", "f"), ("z",)]
    assert len(store.list_namespaces()) == 5


async def test_a_batch_reads_and_then_writes(stores: tuple[BaseStore, BaseStore]) -> None:
    store, _ = stores
    await store.aput(("a",), "old", {"n": 1})
    ops = [
        *(PutOp(("a",), "new", {"n": 1}), GetOp(("a",), "new"), GetOp(("a",), "old"), PutOp(("a",), "old", None)),
        *(SearchOp(("a",)), ListNamespacesOp((MatchCondition("prefix", ("a",)),)), PutOp(("a",), "new", {"n": 2})),
    ]
    got = await store.abatch(ops)
    assert got[0] is got[1] is got[3] is got[6] is None
    assert got[2].value == {"n": 1}  # type: ignore[union-attr]
    assert [item.key for item in got[4]] == ["old"]  # type: ignore[union-attr]
    assert got[5] == [("a",)]
    assert [(item.key, item.value) for item in await store.asearch(("a",))] == [("new", {"n": 2})]
    assert store.batch([]) == []


async def test_nearest_first(stores: tuple[BaseStore, BaseStore]) -> None:
    _, store = stores
    for key, text in (("1", "rain rain"), ("2", "tea and rain"), ("3", "tea tea"), ("4", "sun")):
        store.put(("d",), key, {"text": text, "n": int(key)})
    await store.aput(("d",), "more", {"more": ["coffee", "tea"]})
    store.put(("d",), "never", {"text": "tea"}, index=False)
    store.put(("d",), "title", {"title": "coffee coffee"}, index=["title"])
    found = store.search(("d",), query="tea", limit=3)
    assert [item.key for item in found] == ["3", "more", "2"]
    assert [item.score for item in found] == pytest.approx([1, 1, 0.5**0.5], abs=1e-6)
    assert [item.key for item in store.search(("d",), query="coffee", limit=2)] == ["more", "title"]
    narrowed = await store.asearch(("d",), query="rain", filter={"n": 2}, limit=1)
    assert [item.key for item in narrowed] == ["2"]
    assert [item.key for item in store.search(("d",), query="tea", limit=2, offset=2)] == ["2", "1"]
    assert {item.key: item.score for item in store.search(("d",), query="tea", limit=10)}["never"] is None
    assert len(store.search(("d",), query="tea", limit=10)) == 7
    store.delete(("d",), "3")
    assert [item.key for item in store.search(("d",), query="tea", limit=1)] == ["more"]


@pytest.mark.parametrize("namespace", [(), ("",), ("a.b",), ("a\0",), ("langgraph",), (1,)])
def test_what_is_no_namespace_is_refused(stores: tuple[BaseStore, BaseStore], namespace: Any) -> None:
    with pytest.raises(ValueError, match="amespace"):
        stores[0].put(namespace, "k", {})


def test_what_expires_is_not_told_any_more(memory: Memory) -> None:
    store = memory.store(ttl={"default_ttl": 10})
    store.put(("a",), "k", {"n": 1})
    store.put(("a",), "kept", {"n": 2}, ttl=None)
    first = store.get(("a",), "k", refresh_ttl=False)
    assert first is not None

    def age(minutes: float) -> None:
        memory._database.run_sync(
            lambda tx: tx.execute("UPDATE vertebra_memory_items SET expires_at = expires_at - ?", minutes * 60)
        )

    age(9)
    assert store.get(("a",), "k") is not None
    age(9)
    assert [item.key for item in store.search(("a",))] == ["k", "kept"]
    age(9)
    assert len(store.search(("a",), refresh_ttl=False)) == 2
    age(2)
    assert store.get(("a",), "k") is None
    assert [item.key for item in store.search(("a",))] == ["kept"]
    assert memory.expire_sync().items == 1
    store.put(("a",), "k", {"n": 3})
    assert [item.key for item in store.search(("a",))] == ["kept", "k"]


def test_each_tenant_has_its_own_and_forget_takes_a_subjects(memory: Memory) -> None:
    for tenant in (None, "a", "b"):
        store = memory.store(tenant=tenant, index=INDEX)
        for namespace in (("people", "ann"), ("ann", "x"), ("people", "bob")):
            store.put(namespace, "k", {"text": f"tea of {tenant}"})
    receipt = memory.forget_sync("ann", tenant="a", reason="r", by="b")
    assert receipt.removed["items"] == 2
    assert memory.store(tenant="a").list_namespaces() == [("people", "bob")]
    assert len(memory.store(tenant="b").list_namespaces()) == len(memory.store().list_namespaces()) == 3
    assert [item.value for item in memory.store().search(("ann",))] == [{"text": "tea of None"}]
    left = memory._database.run_sync(lambda tx: tx.all("SELECT tenant FROM vertebra_memory_item_vectors"))
    assert len(left) == 7


def test_a_key_that_is_put_again_keeps_when_it_was_made(memory: Memory) -> None:
    store = memory.store()
    store.put(("a",), "k", {})
    made = store.get(("a",), "k").created_at  # type: ignore[union-attr]
    store.put(("a",), "k", {"n": 1})
    assert store.get(("a",), "k").created_at == made  # type: ignore[union-attr]
    assert store.search(("a",), filter={"n": {"$gt": 0}, "missing": {"$lt": 1}}) == []


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}, {"a": "\ud800"}])
def test_what_is_no_json_is_refused(value: dict[str, Any]) -> None:
    with open_memory("memory://") as memory, pytest.raises(UsageError, match="To go on"):
        memory.store().put(("a",), "k", value)


def test_a_prebuilt_tool_node_is_handed_it(sqlite_url: str) -> None:
    """LangGraph's own ``ToolNode`` injects the store into a tool."""

    def note(text: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
        """Note a text."""
        store.put(("notes",), text, {"text": text})
        return f"{len(store.search(('notes',)))} noted"

    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode([note]))
    builder.add_edge(START, "tools")
    builder.add_edge("tools", END)
    call = {"name": "note", "args": {"text": "tea"}, "id": "1", "type": "tool_call"}
    with open_memory(sqlite_url) as memory:
        graph = builder.compile(store=memory.store())
        ended = graph.invoke({"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]})
        assert ended["messages"][-1].content == "1 noted"


class State(TypedDict, total=False):
    said: str
    known: list[str]


async def test_nodes_of_a_graph_are_handed_it(durable_url: str) -> None:
    async def remember(state: State, runtime: Runtime[Any]) -> State:
        assert runtime.store is not None
        await runtime.store.aput(("notes",), state["said"], {"text": state["said"]})
        return {"known": [item.key for item in await runtime.store.asearch(("notes",))]}

    builder = StateGraph(State)
    builder.add_node("remember", remember)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", END)
    with open_memory(durable_url) as memory:
        plain = builder.compile(store=memory.store(tenant="t"))
        assert (await plain.ainvoke({"said": "a"}))["known"] == ["a"]
        with Graph.from_langgraph(builder, name="notes").compile(store=memory.store(tenant="t")) as app:
            assert (await app.run({"said": "b"}, thread_id="1")).output["known"] == ["a", "b"]
    with open_memory(durable_url) as memory:
        assert await asyncio.to_thread(memory.store(tenant="t").get, ("notes",), "b") is not None
