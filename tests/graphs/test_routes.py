"""Where conditional edges lead, in graphs that run: routers, bounds, and what leaves the thread resumable."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, field_validator

from vertebra import END, START, Append, Graph, Run, transition
from vertebra.errors import LoopBoundReached
from vertebra.graphs.compilation import LOOPS, ROUTE
from vertebra.graphs.routing import Routing


class State(BaseModel):
    rounds: Annotated[int, operator.add] = 0
    log: Append[str] = []


@transition
def draft(state: State) -> dict[str, Any]:
    return {"rounds": 1, "log": ["draft"]}


@transition
def left(state: State) -> dict[str, Any]:
    return {"log": ["left"]}


@transition
def right(state: State) -> dict[str, Any]:
    return {"log": ["right"]}


def routed(answer: Any, mapping: Any = None) -> Graph:
    g = Graph(State, name="routed").add_edge(START, draft)
    g.add_conditional_edges(draft, lambda state: answer, mapping or {"l": left, "r": right, None: END, 3: END})
    return g.add_edge(left, END).add_edge(right, END)


def loop(until: int, *, max_visits: int | None = None, on_exhausted: Any = None) -> Graph:
    g = Graph(State, name="loop").add_edge(START, draft)
    g.add_conditional_edges(
        draft,
        lambda state: "again" if state.rounds < until else "ok",
        {"again": draft, "ok": END},
        max_visits=max_visits,
        on_exhausted=on_exhausted,
    )
    return g if on_exhausted is None else g.add_edge(on_exhausted, END)


def run(g: Graph, given: Any = None) -> Run:
    with g.compile() as app:
        return app.run_sync(given or {}, thread_id="t")


@pytest.mark.parametrize(
    ("answer", "log"),
    [
        ("l", ["draft", "left"]),
        ("r", ["draft", "right"]),
        (["l", "r"], ["draft", "left", "right"]),
        (("r",), ["draft", "right"]),
        (["l", "l"], ["draft", "left"]),
        (None, ["draft"]),
        (3, ["draft"]),
    ],
)
def test_a_router_answers_with_a_key_or_several(answer: Any, log: list[str]) -> None:
    assert run(routed(answer)).output.log == log


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("x", "answered 'x'; declared are 'l', 'r', None, 3"),
        (["l", "x"], "answered 'x'"),
        ([], r"answered \[\]"),
        ({"l"}, "answered {'l'}"),
        ("", "answered ''"),
    ],
)
def test_an_undeclared_answer_leaves_the_thread_before_its_node(answer: Any, says: str) -> None:
    done = run(routed(answer))
    assert (done.status, done.next, done.output.log) == ("failed", ("draft",), [])
    with pytest.raises(Exception, match=says) as caught:
        done.raise_for_status()
    assert caught.value.code == "router_failed"  # type: ignore[attr-defined]
    assert caught.value.context["node"] == "draft"  # type: ignore[attr-defined]


def test_a_router_that_raises_names_itself_and_can_be_mended() -> None:
    broken = [True]

    def route(state: State) -> str:
        if broken:
            raise KeyError("lost")
        return "l"

    g = Graph(State, name="g").add_edge(START, draft).add_conditional_edges(draft, route, {"l": END})
    with g.compile() as app:
        failed = app.run_sync({}, thread_id="t")
        assert failed.error is not None
        assert failed.error.code == "router_failed"
        assert "The router of 'draft' raised KeyError: 'lost'" in str(failed.error)
        broken.clear()
        assert app.resume_sync("t").output.log == ["draft"]


def test_a_router_sees_the_state_as_its_node_leaves_it() -> None:
    seen: list[State] = []

    def route(state: State) -> str:
        seen.append(state)
        state.log.append("scribbled")
        return "end"

    g = Graph(State, name="g").add_edge(START, draft).add_conditional_edges(draft, route, {"end": END})
    done = run(g, {"rounds": 4, "log": ["given"]})
    assert seen == [State(rounds=5, log=["given", "draft", "scribbled"])]
    assert done.output == State(rounds=5, log=["given", "draft"])


def test_a_route_may_begin_at_start() -> None:
    g = Graph(State, name="g").add_edge(left, END).add_edge(right, END)
    g.add_conditional_edges(START, lambda state: "r" if state.rounds else "l", {"l": left, "r": right})
    assert run(g).output.log == ["left"]
    assert run(g, {"rounds": 1}).output.log == ["right"]


def test_static_and_conditional_edges_of_a_node_are_all_taken() -> None:
    g = routed("r").add_edge(draft, left).add_conditional_edges(draft, lambda state: "end", {"end": END})
    assert run(g).output.log == ["draft", "left", "right"]


@pytest.mark.parametrize(("until", "rounds", "status"), [(1, 1, "done"), (3, 3, "done"), (4, 0, "failed")])
def test_a_bound_is_how_often_the_cycle_is_re_entered(until: int, rounds: int, status: str) -> None:
    done = run(loop(until, max_visits=2))
    assert done.status == status
    if status == "done":
        assert done.output.rounds == rounds
    else:
        assert done.error is not None
        assert done.error.code == "loop_bound_reached"
        assert "for the 3rd time; max_visits is 2" in str(done.error)
        assert done.output.rounds == 2, "it stands before the node whose router asked for too much"


def test_where_the_bound_is_reached_the_run_may_go_elsewhere() -> None:
    assert run(loop(9, max_visits=2, on_exhausted=left)).output.log == ["draft"] * 3 + ["left"]
    assert run(loop(3, max_visits=2, on_exhausted=left)).output.log == ["draft"] * 3


def test_a_bound_may_be_raised_under_a_thread() -> None:
    from vertebra import open_checkpointer

    with open_checkpointer("memory://") as store:
        assert loop(4, max_visits=2).compile(checkpointer=store).run_sync({}, thread_id="t").status == "failed"
        assert loop(4, max_visits=3).compile(checkpointer=store).resume_sync("t").output.rounds == 4


def test_each_run_of_a_thread_counts_anew() -> None:
    g = Graph(State, name="g").add_edge(START, draft)
    g.add_conditional_edges(
        draft, lambda state: "again" if state.rounds % 3 else "ok", {"again": draft, "ok": END}, max_visits=2
    )
    with g.compile() as app:
        assert app.run_sync({}, thread_id="t").output.rounds == 3
        assert app.run_sync({}, thread_id="t").output.rounds == 6


def test_two_bounds_of_one_node_count_apart() -> None:
    g = loop(9, max_visits=1).add_conditional_edges(START, lambda state: "in", {"in": draft})
    g.add_conditional_edges(draft, lambda state: "l", {"l": left}, max_visits=1, on_exhausted=right)
    g.add_edge(left, draft).add_edge(right, END)
    routing = Routing(g.definition)
    first = routing.routes("draft", {}, {}, "run")
    assert first[LOOPS] == {"draft/0": ["run", 1], "draft/1": ["run", 1]}
    second = routing.routes("draft", {"rounds": 9}, first[LOOPS], "run")
    assert second[ROUTE] == {"draft/0": [END], "draft/1": ["right"]}


@pytest.mark.parametrize(
    ("number", "ordinal"), [(1, "2nd"), (2, "3rd"), (3, "4th"), (10, "11th"), (20, "21st"), (111, "112th")]
)
def test_the_error_counts_as_people_do(number: int, ordinal: str) -> None:
    routing = Routing(loop(10**6, max_visits=number).definition)
    with pytest.raises(Exception, match=f"for the {ordinal} time"):
        routing.routes("draft", {}, {"draft/0": ["run", number]}, "run")


def test_edges_of_other_nodes_do_not_shift_the_count() -> None:
    before, after = loop(9, max_visits=1), Graph(State, name="g")
    after.add_conditional_edges(START, lambda state: "in", {"in": draft})
    after.definition.choices.extend(before.definition.choices)
    counts = Routing(before.definition).routes("draft", {}, {}, "run")[LOOPS]
    with pytest.raises(LoopBoundReached):
        Routing(after.definition).routes("draft", {}, counts, "run")


@pytest.mark.parametrize(("key", "bounds"), [("draft?0", 1), ("draft?7", 1), ("draft?0", 2)])
def test_a_count_of_the_first_release_goes_on(key: str, bounds: int) -> None:
    g = loop(9, max_visits=3)
    for _ in range(bounds - 1):
        g.add_conditional_edges(draft, lambda state: "l", {"l": left}, max_visits=1, on_exhausted=right)
    first = Routing(g.definition).routes("draft", {}, {key: ["run", 2], "other?1": ["run", 9]}, "run")[LOOPS]
    assert first["draft/0"] == ["run", 3]
    with pytest.raises(LoopBoundReached):
        Routing(g.definition).routes("draft", {}, {key: ["run", 2], **first}, "run")


class Strict(BaseModel):
    n: int = 0

    @field_validator("n")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd")
        return value


@pytest.mark.parametrize(("returned", "field"), [({"n": "x"}, "n"), ({"n": 1}, "n"), ({"m": 1}, "m"), (5, None)])
def test_a_bad_update_leaves_the_thread_at_the_edge_before(returned: Any, field: str | None) -> None:
    good: list[Callable[[], Any]] = []

    def node(state: Strict) -> Any:
        return good[0]() if good else returned

    g = Graph(Strict, name="g").add_edge(START, node).add_edge(node, END)
    with g.compile() as app:
        failed = app.run_sync({}, thread_id="t")
        assert (failed.status, failed.next, failed.output) == ("failed", ("node",), Strict())
        assert failed.error is not None
        assert (failed.error.code, failed.error.context["node"]) == ("invalid_update", "node")
        assert failed.error.context.get("field") == field
        good.append(lambda: {"n": 4})
        assert app.resume_sync("t").output == Strict(n=4)
