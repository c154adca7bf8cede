"""Several apps at once: on one open store, on one thread, with a saver that was given."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from vertebra import END, START, Append, Graph, human, open_checkpointer, transition
from vertebra.runtime import events


class Price(BaseModel):
    cents: int


class Drug(BaseModel):
    name: str


class Offer(BaseModel):
    prices: Append[Price] = []
    ok: bool | None = None


class Recipe(BaseModel):
    drugs: Append[Drug] = []
    ok: bool | None = None


@transition
def price(state: Offer) -> dict[str, object]:
    return {"prices": [Price(cents=1)]}


@transition
def prescribe(state: Recipe) -> dict[str, object]:
    return {"drugs": [Drug(name="lisinopril")]}


@human(answer=bool, into="ok")
def approve(state: Any) -> str:
    return "ok?"


def asking(state: type[Any], node: Any, name: str) -> Graph:
    g = Graph(state, name=name)
    g.add_edge(START, node)
    g.add_edge(node, approve)
    g.add_edge(approve, END)
    return g


async def test_two_graphs_on_one_store_get_their_own_types_and_events_back(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        offers = asking(Offer, price, "offers").compile(checkpointer=store)
        recipes = asking(Recipe, prescribe, "recipes").compile(checkpointer=store)
        crossed: dict[str, list[events.Event]] = {"offers": [], "recipes": []}
        await offers.run({}, thread_id="o", on_event=crossed["offers"].append)
        await recipes.run({}, thread_id="r", on_event=crossed["recipes"].append)
        assert all(any(isinstance(e, events.EdgeCrossed) for e in found) for found in crossed.values())
        assert (await offers.resume("o", True)).status == "done"
        assert (await recipes.resume("r", True)).status == "done"
        values = [
            (await a.aget_state({"configurable": {"thread_id": t}})).values for a, t in ((offers, "o"), (recipes, "r"))
        ]
        assert values == [{"prices": [Price(cents=1)], "ok": True}, {"drugs": [Drug(name="lisinopril")], "ok": True}]


async def test_a_given_saver_keeps_the_state_and_a_url_the_journal(sqlite_url: str) -> None:
    saver = InMemorySaver()
    async with asking(Offer, price, "offers").compile(checkpointer=saver, journal=sqlite_url) as app:
        assert (await app.run({}, thread_id="o")).status == "interrupted"
        assert saver.get_tuple({"configurable": {"thread_id": "o"}}) is not None
    with open_checkpointer(sqlite_url) as store:
        assert (await store.runs.require("o")).status == "interrupted"
    async with asking(Offer, price, "offers").compile(checkpointer=saver, journal=sqlite_url) as app:
        assert (await app.resume("o", True)).status == "done"
        await app.delete("o")
        assert saver.get_tuple({"configurable": {"thread_id": "o"}}) is None


async def test_threads_are_driven_side_by_side(store_url: str) -> None:
    import asyncio

    async with asking(Offer, price, "offers").compile(checkpointer=store_url) as app:
        runs = await asyncio.gather(*(app.run({}, thread_id=f"t{n}") for n in range(20)))
        assert {r.status for r in runs} == {"interrupted"}
        runs = await asyncio.gather(*(app.resume(f"t{n}", n % 2 == 0) for n in range(20)))
        assert [r.output.ok for r in runs] == [n % 2 == 0 for n in range(20)]
