"""Every finding of the static checks: a graph that provokes it, and nothing besides."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from vertebra import END, START, Append, Graph, effect, human, llm, transition
from vertebra.errors import GraphInvalid
from vertebra.graphs import data_checks, flow_checks


class State(BaseModel):
    n: int = 0
    items: list[str] = []
    notes: Append[str] = []
    text: str = ""
    other: str = ""
    ok: bool | None = None


@transition
def one(state: State) -> None: ...


@transition
def two(state: State) -> None: ...


@transition
def three(state: State) -> None: ...


@transition
def writes_n(state: State) -> dict[str, int]:
    return {"n": 1}


@transition
def also_writes_n(state: State) -> dict[str, int]:
    if state.n:
        return {"n": 2}
    return {}


@llm(fallback="three")
def falls_back(state: State) -> None: ...


@llm(fallback=END)
def falls_to_end(state: State) -> None: ...


@llm(fallback="falls_on_itself")
def falls_on_itself(state: State) -> None: ...


@human(answer=int)
def asks_for_a_number(state: State) -> str: ...


@human
def asks_for_a_text(state: State) -> str: ...


@human(answer=bytes, into="bytes")
def asks_for_bytes(state: State) -> str: ...


@effect(writes="n")
def says_what_it_writes(state: State) -> None: ...


@effect(writes="nn")
def writes_nn(state: State) -> None: ...


def pick(state: State) -> str: ...
def yes_or_no(state: State) -> Literal["yes", "no"]: ...
def both(state: State) -> list[str]: ...


def line(*nodes: Any, state: Any = State, name: str = "line") -> Graph:
    g = Graph(state, name=name)
    for before, after in zip([START, *nodes], [*nodes, END], strict=True):
        g.add_edge(before, after)
    return g


def duplicate() -> Graph:
    def one(state: State) -> None: ...

    return line(one).add_edge(globals()["one"], END)


def reserved_field() -> Graph:
    return line(one, state=TypedDict("Dunder", {"__root": int, "n": int}))


def spread(worker: Any = one, *, over: str = "items") -> Graph:
    return Graph(State, name="spread").fan_out(START, worker, over=over).add_edge(worker, END)


def parallel(*nodes: Any) -> Graph:
    g = Graph(State, name="parallel")
    for node in nodes:
        g.add_edge(START, node).add_edge(node, END)
    return g


def chosen(**more: Any) -> Graph:
    return Graph(State, name="chosen").add_edge(START, one).add_conditional_edges(one, pick, {"end": END}, **more)


def looped(**more: Any) -> Graph:
    g = line(one, two)
    return g.add_conditional_edges(two, pick, {"again": one, "end": END}, **more)


def routed_at_once() -> Graph:
    g = Graph(State, name="routed")
    g.add_conditional_edges(START, both, [writes_n, also_writes_n])
    return g.add_edge(writes_n, END).add_edge(also_writes_n, END)


def after_two_joins() -> Graph:
    """``writes_n`` has two joins, and only the first brings it together with the other writer."""
    g = parallel(one, two).add_edge(one, also_writes_n).add_edge(also_writes_n, END)
    return g.add_edge([one], writes_n).add_edge([one, two], writes_n).add_edge(writes_n, END)


def joined_worker() -> Graph:
    return spread().add_edge(START, two).add_edge([one, two], END)


def starving() -> Graph:
    g = parallel(one, two)
    g.add_conditional_edges(one, pick, {"on": three, "end": END})
    return g.add_edge([two, three], writes_n).add_edge(writes_n, END)


def vast() -> Graph:
    g = Graph(State, name="vast")
    for number in range(16):
        g.add_node(f"n{number}", one).add_edge(START, f"n{number}")
        g.add_node(f"m{number}", two).add_edge(f"m{number}", END)
        g.add_conditional_edges(f"n{number}", pick, {"on": f"m{number}", "end": END})
    return g


def stranger() -> Graph:
    return line(line(lambda state: None, state=TypedDict("Apart", {"x": int}), name="inner"))


Case = tuple[str, str, Callable[[], Graph]]
PROVOKED: list[Case] = [
    ("duplicate_node", "one", duplicate),
    ("bad_name", "a/b", lambda: line("a/b").add_node("a/b", one)),
    ("bad_name", "__x", lambda: line("__x").add_node("__x", one)),
    ("bad_name", "vertebra.x", lambda: line("vertebra.x").add_node("vertebra.x", one)),
    ("bad_name", "''", lambda: line("").add_node("", one)),
    ("bad_name", "__root", reserved_field),
    ("unknown_node", "edge __start__ -> ony", lambda: line(one).add_edge(START, "ony")),
    ("unknown_node", "edge ['one', 'x'] -> __end__", lambda: line(one).add_edge([one, "x"], END)),
    ("unknown_node", "conditional edges of one", lambda: chosen().add_conditional_edges(one, pick, ["x"])),
    ("unknown_node", "conditional edges of two", lambda: looped(max_visits=1, on_exhausted="x")),
    ("unknown_node", "fan_out(one => x)", lambda: line(one).fan_out(one, "x", over="items")),
    ("unknown_node", "fallback of falls_back", lambda: line(falls_back)),
    ("not_a_node", "fallback of falls_to_end", lambda: line(falls_to_end)),
    ("not_a_node", "fan_out(__start__ => __end__)", lambda: line(one).fan_out(START, END, over="items")),
    ("fallback_is_itself", "falls_on_itself", lambda: line(falls_on_itself)),
    ("edge_from_end", "edge __end__ -> one", lambda: line(one).add_edge(END, one)),
    ("edge_from_end", "conditional edges of __end__", lambda: line(one).add_conditional_edges(END, pick, [END])),
    ("edge_to_start", "edge one -> __start__", lambda: line(one).add_edge(one, START)),
    ("edge_to_start", "conditional edges of one", lambda: chosen(max_visits=1, on_exhausted=START)),
    ("join_on_start", "edge ['__start__', 'one'] -> __end__", lambda: line(one).add_edge([START, one], END)),
    ("no_start", "__start__", lambda: Graph(State, name="empty").add_edge(one, END)),
    ("unreachable_node", "two", lambda: line(one).add_edge(two, END)),
    ("no_way_to_end", "one", lambda: Graph(State, name="stuck").add_edge(START, one)),
    ("unbounded_cycle", "one -> two -> one", looped),
    ("unbounded_cycle", "one -> one", lambda: line(one).add_edge(one, one)),
    ("bound_without_cycle", "conditional edges of one", lambda: chosen(max_visits=2)),
    ("exhausted_within_cycle", "conditional edges of two", lambda: looped(max_visits=2, on_exhausted=one)),
    ("exhausted_without_bound", "conditional edges of one", lambda: chosen(on_exhausted=END)),
    ("empty_mapping", "conditional edges of one", lambda: line(one).add_conditional_edges(one, pick, {})),
    (
        "router_target_not_declared",
        "conditional edges of one",
        lambda: line(one).add_conditional_edges(one, yes_or_no, {"yes": END}),
    ),
    ("nested_fan_out", "fan_out(one => two)", lambda: spread().fan_out(one, two, over="items").add_edge(two, END)),
    ("worker_of_several", "one", lambda: spread().fan_out(START, one, over="notes")),
    ("worker_without_item", "one", lambda: spread().add_edge(START, one)),
    ("worker_without_item", "one", lambda: spread().add_edge(START, two).add_edge([two], one)),
    ("worker_without_item", "one", lambda: spread().add_conditional_edges(START, pick, [one])),
    ("choice_in_fan_out", "conditional edges of one", lambda: spread().add_conditional_edges(one, pick, [END])),
    (
        "worker_in_join",
        "edge ['one', 'two'] -> __end__",
        joined_worker,
    ),
    ("unknown_field", "fan_out(__start__ => one)", lambda: spread(over="itmes")),
    ("unknown_field", "asks_for_bytes", lambda: line(asks_for_bytes)),
    ("unknown_field", "writes_nn", lambda: line(writes_nn)),
    ("not_a_sequence", "fan_out(__start__ => one)", lambda: spread(over="text")),
    ("parallel_writers", "also_writes_n and writes_n", lambda: parallel(writes_n, also_writes_n)),
    ("parallel_writers", "also_writes_n and writes_n", routed_at_once),
    ("parallel_writers", "also_writes_n and writes_n", after_two_joins),
    ("parallel_writers", "asks_for_a_number and writes_n", lambda: parallel(asks_for_a_number, writes_n)),
    ("parallel_writers", "writes_n (each item of items)", lambda: spread(writes_n)),
    ("join_may_starve", "writes_n", starving),
    ("not_all_explored", "vast", vast),
    ("answer_without_field", "asks_for_a_text", lambda: line(asks_for_a_text)),
    ("subgraph_shares_nothing", "inner", stranger),
    ("unbounded_cycle", "inner/one -> one", lambda: line(line(one, name="inner").add_edge(one, one))),
]


@pytest.mark.parametrize(("code", "place", "make"), PROVOKED)
def test_a_fault_is_found_with_its_place_and_a_remedy(code: str, place: str, make: Callable[[], Graph]) -> None:
    found = [finding for finding in make().check() if finding.code == code]
    assert [finding.place for finding in found] == [place]
    assert found[0].message.endswith(".")
    assert found[0].remedy


def test_every_code_of_the_checks_is_provoked() -> None:
    source = inspect.getsource(flow_checks) + inspect.getsource(data_checks)
    assert set(re.findall(r'(?:error|warning)\(\s*"(\w+)"', source)) == {code for code, _, _ in PROVOKED}


@pytest.mark.parametrize(
    "make",
    [
        lambda: line(one, two),
        lambda: line(),
        lambda: looped(max_visits=2, on_exhausted=END),
        lambda: spread(),
        lambda: spread(over="notes"),
        lambda: parallel(writes_n, one),
        lambda: line(writes_n, says_what_it_writes),
        lambda: line(falls_back).add_node(three),
        lambda: line(asks_for_a_number),
        lambda: line(line(writes_n, name="inner")),
        lambda: spread(line(one, state=TypedDict("Item", {"x": int}), name="inner")),
        lambda: parallel(one, two).add_edge([one, two], three).add_edge(three, END),
    ],
)
def test_a_graph_that_is_well_has_no_findings(make: Callable[[], Graph]) -> None:
    assert make().check() == []


def test_all_findings_come_at_once_errors_first() -> None:
    g = chosen(max_visits=2).add_edge("drafft", END).add_edge(two, END).fan_out(one, three, over="text")
    findings = g.check()
    assert [f.code for f in findings] == [
        *("unknown_node", "unreachable_node", "no_way_to_end", "not_a_sequence", "bound_without_cycle")
    ]
    with pytest.raises(GraphInvalid) as caught:
        g.compile()
    assert list(caught.value.findings) == findings
    assert "has 4 errors" in str(caught.value)
    for finding in findings[:4]:
        assert str(finding) in str(caught.value)
    assert findings[4].code not in str(caught.value)


def test_a_near_name_is_suggested() -> None:
    (finding,) = [f for f in line(one).add_edge(one, "tow").add_edge(two, END).check() if f.code == "unknown_node"]
    assert "did you mean 'two'?" in finding.remedy


def test_a_warning_does_not_stop_the_graph() -> None:
    with chosen(max_visits=2).compile() as app:
        assert app.name == "chosen"
