"""What a serializer does not take fails the node that returned it, by name and place; mended, the thread goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from tests.checkpointers.encrypted import new_key
from vertebra import END, START, Append, Graph, transition
from vertebra.errors import InvalidInput, InvalidUpdate
from vertebra.runtime.app import App

HALF = "\ud800"


class Inner(BaseModel):
    data: dict[str, Any] = {}


def counted(before: dict[str, int], more: int | dict[str, int]) -> dict[str, int]:
    return before if isinstance(more, dict) else {"count": 2**more}


class State(BaseModel):
    log: Append[str] = []
    data: Any = None
    items: Append[Any] = []
    inner: Inner | None = None
    counts: Annotated[dict[str, int], counted] = {}


def itself() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["again"] = data
    return data


def deep(levels: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(levels):
        data = {"in": data}
    return data


# What a node returns, the field and the path that are told, and a part of the reason.
REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str, str, str]] = {
    "key": (lambda: {"data": {"a": [1, {HALF: 1}]}}, "data", "data['a'][1]", r"the key '\ud800'"),
    "item": (lambda: {"items": ["ok", {HALF: 1}]}, "items", "items[1]", r"the key '\ud800'"),
    "in a model": (lambda: {"inner": Inner(data={"x": {HALF: 1}})}, "inner", "inner.data['x']", r"the key '\ud800'"),
    "number": (lambda: {"data": {"n": 2**64}}, "data", "data['n']", "64-bit"),
    "object": (lambda: {"data": (1, object())}, "data", "data[1]", "not msgpack serializable: object"),
    "itself": (lambda: {"data": itself()}, "data", "data['again']", "it holds itself"),
    "deep": (lambda: {"data": deep(2000)}, "data", "data" + "['in']" * 12, "Recursion limit"),
}


def graph(returned: dict[str, Any]) -> Graph:
    @transition
    def first(state: State) -> dict[str, Any]:
        return {"log": ["first"]}

    @transition
    def second(state: State) -> dict[str, Any]:
        return dict(returned)

    @transition
    def beside(state: State) -> dict[str, Any]:
        return {"log": ["beside"]}

    g = Graph(State, name="refused")
    g.add_edge(START, first)
    for node in (second, beside):
        g.add_edge(first, node).add_edge(node, END)
    return g


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def options(request: pytest.FixtureRequest, store_url: str) -> dict[str, Any]:
    """Each store, also encrypted."""
    return {"checkpointer": store_url, "encryption": new_key() if request.param else None}


async def test_it_names_node_field_and_place_and_the_thread_goes_on(options: dict[str, Any]) -> None:
    returned: dict[str, Any] = {}
    async with graph(returned).compile(**options) as app:
        for name, (make, field, path, reason) in REFUSED.items():
            returned.clear()
            returned.update(make())
            run = await app.run({}, thread_id=name)
            assert run.status == "failed"
            assert "second" in run.next
            assert isinstance(run.error, InvalidUpdate)
            where = {key: run.error.context[key] for key in ("node", "field", "path", "step", "thread")}
            assert where == {"node": "second", "field": field, "path": path, "step": 2, "thread": name}
            assert reason in run.error.message
            assert "resume the thread" in run.error.remedy
            str(run.error).encode()  # whoever prints it can
            returned.clear()
            returned["items"] = ["mended"]
            run = await app.resume(name)
            assert (run.status, run.output.log, run.output.items) == ("done", ["first", "beside"], ["mended"])


async def test_what_a_reducer_makes_is_told_by_its_field(options: dict[str, Any]) -> None:
    async with graph({"counts": 64}).compile(**options) as app:
        run = await app.run({}, thread_id="t")
        assert isinstance(run.error, InvalidUpdate)
        assert (run.error.context["field"], run.error.context["step"]) == ("counts", 2)
        assert "reducer" in run.error.remedy


async def test_what_comes_from_outside_is_refused_before_anything_is_kept(options: dict[str, Any]) -> None:
    async with graph({}).compile(**options) as app:
        with pytest.raises(InvalidInput, match=r"data\['a'\]: the key"):
            await app.run({"data": {"a": {HALF: 1}}}, thread_id="t")
        await app.run({}, thread_id="t")
        await _refused_by_hand(app)
        assert (await app.status("t")).output.data is None


async def _refused_by_hand(app: App) -> None:
    bad = {"data": {HALF: 1}}
    with pytest.raises(InvalidUpdate, match="field 'data'"):
        await app.fork("t", thread_id="fork", update=bad)
    with pytest.raises(InvalidUpdate, match="field 'data'"):
        await asyncio.to_thread(app.update_state, {"configurable": {"thread_id": "t"}}, bad, "second")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_what_is_no_number_is_kept_as_any_float(options: dict[str, Any], number: float) -> None:
    async with graph({"data": number}).compile(**options) as app:
        run = await app.run({}, thread_id="t")
        assert (run.status, str((await app.status("t")).output.data)) == ("done", str(number))
