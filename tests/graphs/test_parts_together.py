"""Graphs that run: states of every kind, fan-outs and joins, subgraphs, retries and stand-ins."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pytest
from langgraph.graph import MessagesState
from langgraph.graph.message import AnyMessage, add_messages
from pydantic import BaseModel
from typing_extensions import TypedDict

from vertebra import END, START, Append, Context, Graph, Retry, Run, effect, transition
from vertebra.errors import NodeFailed

Messages = Annotated[list[AnyMessage], add_messages]
QUICK = Retry(attempts=2, wait_initial_s=0, jitter_s=0)


class Piece(BaseModel):
    text: str


class Model(BaseModel):
    items: list[Any] = []
    pieces: list[Piece] | None = None
    pair: tuple[int, ...] = ()
    notes: Append[str] = []
    best: Annotated[int, max] = 0
    n: int = 0


class Typed(TypedDict, total=False):
    items: list[Any]
    notes: Append[str]
    best: Annotated[int, max]


@dataclasses.dataclass
class Data:
    items: list[Any] = dataclasses.field(default_factory=list)
    notes: Append[str] = dataclasses.field(default_factory=list)
    best: Annotated[int, max] = 0


@transition
def start(state: Any) -> None: ...


@transition
def note(item: Any) -> dict[str, Any]:
    return {"notes": [str(item)], "best": len(str(item))}


@transition
def joined(state: Any) -> dict[str, Any]:
    return {"notes": ["joined"]}


def spread(state: Any = Model, worker: Any = note, *, over: str = "items") -> Graph:
    g = Graph(state, name="spread").add_edge(START, start).fan_out(start, worker, over=over)
    return g.add_edge(worker, joined).add_edge(joined, END)


def run(g: Graph, given: Any = None) -> Run:
    with g.compile() as app:
        done = app.run_sync(given or {}, thread_id="t")
        assert done.error is None, done.error
        return done


@pytest.mark.parametrize("state", [Model, Typed, Data])
def test_a_state_of_each_kind_runs_with_its_reducers(state: type[Any]) -> None:
    output = run(spread(state), {"items": ["a", "bbb", "cc"]}).output
    values = output if state is Typed else vars(output)
    assert values["notes"] == ["a", "bbb", "cc", "joined"]
    assert values["best"] == 3
    assert isinstance(output, dict if state is Typed else state)


@pytest.mark.parametrize(
    ("over", "items", "notes"),
    [
        ("items", [], []),
        ("pieces", None, []),
        ("items", [1], ["1"]),
        ("items", [{"vertebra.item": 1}, {"a": {"b": []}}], ["{'vertebra.item': 1}", "{'a': {'b': []}}"]),
        ("items", ["same", "same"], ["same", "same"]),
        ("items", [None, 0, ""], ["None", "0", ""]),
        ("pieces", [Piece(text="p")], ["text='p'"]),
        ("pair", (1, 2), ["1", "2"]),
        ("items", list(range(12)), [str(number) for number in range(12)]),
    ],
)
def test_a_worker_gets_each_item_and_the_join_comes_once_after_all(over: str, items: Any, notes: list[str]) -> None:
    assert run(spread(over=over), {over: items}).output.notes == [*notes, "joined"]


def test_equal_items_are_visits_of_their_own() -> None:
    def draw(item: Any, ctx: Context) -> dict[str, Any]:
        return {"notes": [str(ctx.uuid())]}

    one, two, _ = run(spread(worker=draw), {"items": ["same", "same"]}).output.notes
    assert one != two


def test_a_fan_out_may_begin_at_start_beside_a_route() -> None:
    g = Graph(Model, name="g").fan_out(START, note, over="items").add_edge(note, joined).add_edge(joined, END)
    g.add_conditional_edges(START, lambda state: "skip", {"skip": END})
    assert run(g, {"items": ["a"]}).output.notes == ["a", "joined"]
    assert run(g).output.notes == ["joined"]


@transition
def lengthen(item: Piece) -> dict[str, Any]:
    return {"text": item.text * 2}


@transition
def finish(state: Any) -> dict[str, Any]:
    return {"notes": [state.text]}


@pytest.mark.parametrize("state", [MessagesState, dataclasses.make_dataclass("Chat", [("messages", Messages)])])
def test_a_reducer_makes_values_of_what_nodes_and_callers_give(state: type[Any]) -> None:
    def answer(state: Any) -> dict[str, Any]:
        return {"messages": ("ai", "hello")}

    g = Graph(state, name="chat").add_edge(START, answer).add_edge(answer, END)
    output = run(g, {"messages": [("user", "hi")]}).output
    messages = output["messages"] if isinstance(output, dict) else output.messages
    assert [(message.type, message.content) for message in messages] == [("human", "hi"), ("ai", "hello")]


class Inner(BaseModel):
    text: str
    notes: Append[str] = []


def test_a_subgraph_may_be_the_worker() -> None:
    inner = Graph(Inner, name="inner").add_edge(START, lengthen).add_edge(lengthen, finish).add_edge(finish, END)
    output = run(spread(worker=inner, over="pieces"), {"pieces": [{"text": "a"}, {"text": "b"}]}).output
    assert output.notes == ["aa", "bb", "joined"]


class Part(TypedDict, total=False):
    notes: Append[str]
    n: int
    own: str


def nested(*nodes: Any, **options: Any) -> Graph:
    inner = Graph(Part, name="inner")
    for before, after in zip([START, *nodes], [*nodes, END], strict=True):
        inner.add_edge(before, after)
    return Graph(Model, name="outer").add_node(inner, **options).add_edge(START, inner).add_edge(inner, END)


def test_fields_of_one_name_pass_in_and_out_of_a_subgraph_and_appends_come_once() -> None:
    def inside(state: Any) -> dict[str, Any]:
        return {"notes": [f"saw {state['notes']} {state['n']}"], "n": state["n"] + 1, "own": "kept inside"}

    output = run(nested(inside), {"notes": ["given"], "n": 4}).output
    assert output.notes == ["given", "saw ['given'] 4"]
    assert output.n == 5


def test_a_subgraph_that_is_tried_again_begins_anew() -> None:
    attempts: list[Any] = []

    def first(state: Any) -> dict[str, Any]:
        return {"notes": ["first"]}

    def second(state: Any) -> dict[str, Any]:
        attempts.append(state["notes"])
        if len(attempts) == 1:
            raise RuntimeError
        return {"notes": ["second"]}

    retry = Retry(attempts=2, wait_initial_s=0, jitter_s=0, on=(NodeFailed,))
    assert run(nested(first, second, retry=retry)).output.notes == ["first", "second"]
    assert attempts == [["first"], ["first"]]


def test_a_subgraph_may_have_a_stand_in() -> None:
    def fails(state: Any) -> None:
        raise RuntimeError

    assert run(nested(fails, fallback=joined)).output.notes == ["joined"]


def test_a_retry_is_handed_the_state_untouched() -> None:
    seen: list[Any] = []

    @effect(retry=QUICK)
    def node(state: Model) -> dict[str, Any]:
        seen.append(state.model_copy(deep=True))
        state.items[0].append("scribbled")
        if len(seen) == 1:
            raise ConnectionError
        return {"n": 1}

    g = Graph(Model, name="g").add_edge(START, node).add_edge(node, start).add_edge(start, END)
    output = run(g, {"items": [[]]}).output
    assert seen[0] == seen[1]
    assert output.items == [[]]


def test_a_join_waits_for_all_and_comes_once() -> None:
    def slow(state: Any) -> dict[str, Any]:
        return {"notes": ["slow"]}

    def quick(state: Any) -> dict[str, Any]:
        return {"notes": ["quick"]}

    g = Graph(Model, name="g").add_edge(START, start).add_edge(START, quick)
    g.add_edge(start, slow).add_edge([slow, quick], joined).add_edge(joined, END)
    assert run(g).output.notes == ["quick", "slow", "joined"]


def test_metadata_of_a_node_is_in_its_config() -> None:
    seen: list[Any] = []

    def node(state: Any, config: Any) -> None:
        seen.append(config["metadata"]["team"])

    run(Graph(Model, name="g").add_node(node, metadata={"team": "a"}).add_edge(START, node).add_edge(node, END))
    assert seen == ["a"]


def test_a_langgraph_builder_is_adopted_with_its_own_nodes() -> None:
    from langgraph.graph import StateGraph

    builder = StateGraph(Part)
    builder.add_node("theirs", lambda state: {"notes": ["theirs"]})
    builder.add_edge(START, "theirs")
    builder.add_edge("theirs", END)
    with Graph.from_langgraph(builder, name="adopted", version="2").compile() as app:
        assert (app.name, app.version) == ("adopted", "2")
        assert app.run_sync({}).output["notes"] == ["theirs"]
