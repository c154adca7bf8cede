"""Every finding of the static checks: a graph that provokes it, and nothing besides."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, create_model
from typing_extensions import TypedDict

from vertebra import END, START, Append, Context, Graph, Retry, effect, human, llm, transition
from vertebra.errors import GraphInvalid, UsageError
from vertebra.graphs import waiving
from vertebra.graphs.checks import CHECKS
from vertebra.graphs.waiving import WAIVABLE_ERRORS


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


def line(*nodes: Any, state: Any = State, name: str = "line", **more: Any) -> Graph:
    g = Graph(state, name=name, **more)
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


class Loose(TypedDict, total=False):
    question: str
    plan: str
    score: int
    log: Append[str]


def plans(state: Loose) -> dict[str, str]:
    return {"plan": state["question"]}


def needs_a_plan(state: Loose) -> dict[str, int]:
    return {"score": len(state["plan"]) + ("question" in state)}


def may_have_a_plan(state: Loose) -> dict[str, int]:
    return {"score": len(state.get("plan", "")) + len(state["log"])}


def good_enough(state: Loose) -> Literal["yes", "no"]:
    return "yes" if state["score"] > 1 else "no"


@llm(timeout_s=60)
def says(state: State) -> dict[str, str]:
    return {"text": ""}


@llm
def says_without_limit(state: State) -> dict[str, str]:
    return {"text": ""}


@effect
def sends(state: State) -> dict[str, bool]:
    return {"ok": bool(state.text)}


@effect
def sends_a_number(state: State) -> dict[str, bool]:
    return {"ok": bool(state.n)}


@effect(retry=Retry(attempts=3))
def retries(state: State) -> None: ...


@effect(retry=Retry(attempts=3))
def retries_with_a_log(state: State, ctx: Context) -> None:
    ctx.log.info("%s", state.n)


@effect(retry=Retry(attempts=3))
def retries_with_a_key(state: State, ctx: Context) -> None:
    print(ctx.idempotency_key)


@effect(retry=Retry(attempts=3))
def retries_by_another(state: State, ctx: Context) -> None:
    print(ctx)


@effect(retry=Retry(attempts=3), check=lambda state: None)
def retries_checked(state: State) -> None: ...


@transition(reads="txet")
def reads_txet(state: State) -> None: ...


@human(answer=str, into="text")
def asks_each(item: str) -> str: ...


class Idle(BaseModel):
    used: str
    idle: int
    spare: int = 0
    made: int = 0


def uses(state: Idle) -> dict[str, int]:
    return {"made": len(state.used)}


def hands_it_on(state: Idle) -> dict[str, int]:
    return uses(state)


def uses_a_method(state: Idle) -> dict[str, int]:
    return {"made": len(state.model_dump())}


def untyped(state: State) -> dict[str, str]:
    return {"other": state.text}


@transition(fallback=says)
def guarded_by_a_model(state: State) -> None: ...


def routed_early() -> Graph:
    g = late(plans, needs_a_plan)
    return g.add_conditional_edges(plans, good_enough, {"yes": END, "no": needs_a_plan})


def late(*nodes: Any) -> Graph:
    g = Graph(Loose, name="late").add_edge(START, nodes[0])
    for before, after in itertools.pairwise([*nodes, END]):
        g.add_edge(before, after)
    return g


def limited(inner: Graph) -> Graph:
    g = Graph(State, name="limited").add_node(inner, timeout_s=9)
    return g.add_edge(START, inner).add_edge(inner, END)


def guarded_inside(inner: Graph, why: Any) -> Graph:
    g = Graph(State, name="outer").add_node(inner, waive=why)
    return g.add_edge(START, says).add_edge(says, inner).add_edge(inner, END)


def asking() -> Graph:
    item = line(asks_each, state=TypedDict("Item", {"text": str}), name="item")
    return Graph(State, name="asking").fan_out(START, item, over="items").add_edge("item", END)


def inner_of(**fields: Any) -> Callable[[], Graph]:
    return lambda: line(line(lambda state: None, state=create_model("Inner", **fields), name="inner"))


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
    ("unknown_field", "reads_txet", lambda: line(reads_txet)),
    ("subgraph_field_missing", "inner", inner_of(n=(int, 0), more=(int, ...))),
    ("subgraph_field_differs", "inner", inner_of(n=(str, ""))),
    ("subgraph_field_differs", "inner", inner_of(ok=(bool, True))),
    ("subgraph_field_differs", "inner", inner_of(ok=(bool | str | None, True))),
    ("read_before_written", "needs_a_plan", lambda: late(needs_a_plan, plans)),
    ("read_before_written", "conditional edges of plans", lambda: routed_early()),
    ("field_never_read", "field idle", lambda: line(uses, state=Idle)),
    ("model_to_effect", "sends", lambda: line(says, sends)),
    ("model_to_effect", "sends", lambda: line(says, untyped, sends)),
    ("model_to_effect", "inner/sends", lambda: line(says, line(sends, name="inner"))),
    ("model_to_effect", "sends", lambda: line(line(says, name="inner"), sends)),
    ("model_to_effect", "sends", lambda: line(guarded_by_a_model, sends).add_node(says)),
    ("llm_without_limit", "says_without_limit", lambda: line(says_without_limit)),
    ("effect_without_key", "retries", lambda: line(retries)),
    ("effect_without_key", "retries_with_a_log", lambda: line(retries_with_a_log)),
    ("interrupt_in_fan_out", "item/asks_each", asking),
    ("unused_waiver", "one", lambda: line(one).add_node(one, waive={"model_to_effect": "it is none"})),
    ("unused_waiver", "line", lambda: line(one, waive={"no_such_code": "a slip"})),
    ("waiver_of_an_error", "line", lambda: line(one, waive={"unknown_node": "?"}).add_edge(one, "x")),
    ("unbounded_cycle", "inner/one -> one", lambda: line(line(one, name="inner").add_edge(one, one))),
]


@pytest.mark.parametrize(("code", "place", "make"), PROVOKED)
def test_a_fault_is_found_with_its_place_and_a_remedy(code: str, place: str, make: Callable[[], Graph]) -> None:
    found = [finding for finding in make().check() if finding.code == code]
    assert [finding.place for finding in found] == [place]
    assert found[0].message.endswith(".")
    assert found[0].remedy


def test_every_code_of_the_checks_is_provoked() -> None:
    modules = {inspect.getmodule(each) for each in CHECKS} | {waiving}
    source = "".join(inspect.getsource(module) for module in modules if module is not None)
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
        lambda: late(plans, needs_a_plan),
        lambda: late(may_have_a_plan, plans),
        lambda: late(needs_a_plan),  # no node writes it, so it is input
        lambda: line(hands_it_on, state=Idle),
        lambda: line(line(uses, state=TypedDict("Inner", {"n": int, "used": str}), name="inner")),
        lambda: line(uses_a_method, state=Idle),
        lambda: line(says, one, sends),
        lambda: line(says, asks_for_a_number, sends),
        lambda: line(says, sends_a_number),
        lambda: line(sends, says),
        lambda: line(says, line(one, sends, name="inner")),
        lambda: line(line(says, one, name="inner"), sends),
        lambda: limited(line(says_without_limit, name="inner")),
        lambda: line(retries_with_a_key),
        lambda: line(retries_by_another),
        lambda: line(retries_checked),
        inner_of(n=(int, 0), own=(int, 0)),
        inner_of(n=(int, 0), ok=(bool | None, None)),
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


def test_a_waiver_takes_a_finding_out_and_keeps_it_with_its_reason() -> None:
    g = line(says, sends).add_node(sends, waive={"model_to_effect": "it goes to a draft folder"})
    assert g.check() == []
    (finding,) = g.check(waived=True)
    assert (finding.code, finding.place, finding.waived) == ("model_to_effect", "sends", "it goes to a draft folder")
    assert str(finding).startswith("waived model_to_effect at sends: ")


@pytest.mark.parametrize(
    "waived",
    [
        lambda why: line(says, sends, waive=why),
        lambda why: guarded_inside(line(sends, name="inner"), why),
    ],
)
def test_a_waiver_holds_for_the_whole_graph_or_for_all_that_is_in_a_subgraph(waived: Any) -> None:
    found = waived({"model_to_effect": "why"}).check(waived=True)
    assert [f.waived for f in found if f.code == "model_to_effect"] == ["why"]


def test_a_waiver_is_written_at_decorators_edges_and_fan_outs_too() -> None:
    @effect(waive={"model_to_effect": "why"})
    def careful(state: State) -> dict[str, bool]:
        return {"ok": bool(state.text)}

    assert line(says, careful).check() == []
    g = parallel(writes_n).add_edge(START, also_writes_n).add_edge(also_writes_n, END)
    g.add_node(writes_n, waive={"parallel_writers": "only one of them writes in a run"})
    assert g.check() == []
    looped_for_ever = line(one, two).add_conditional_edges(
        two, pick, {"again": one, "end": END}, waive={"bound_without_cycle": "a slip"}
    )
    assert {(f.code, f.place) for f in looped_for_ever.check()} == {
        ("unbounded_cycle", "one -> two -> one"),
        ("unused_waiver", "conditional edges of two"),
    }
    spread_out = Graph(State, name="s").add_node("each", lambda item: {"n": 1})
    spread_out.fan_out(START, "each", over="items", waive={"x": "a slip"}).add_edge("each", END, waive={"y": "a slip"})
    places = [f.place for f in spread_out.check() if f.code == "unused_waiver"]
    assert places == ["fan_out(__start__ => each)", "edge each -> __end__"]


def test_an_unbounded_cycle_may_be_waived_and_the_graph_compiles() -> None:
    g = looped().add_node(one, waive={"unbounded_cycle": "a person ends it"})
    with g.compile() as app:
        assert app.name == "line"


@pytest.mark.parametrize("waive", [{"x": ""}, {"x": None}, ["x"], "x", {1: "why"}])
def test_a_waiver_without_a_reason_is_refused(waive: Any) -> None:
    with pytest.raises(UsageError, match="gives no reason"):
        line(one).add_node(one, waive=waive)


def test_ten_thousand_nodes_are_looked_at_in_a_pass_over_their_edges() -> None:
    """Twice the graph takes about twice the steps: counted, not timed."""
    counts = [steps_of(size) for size in (200, 400, 800)]
    assert counts[2] - counts[1] < 2.5 * (counts[1] - counts[0])


def steps_of(size: int) -> int:
    g = Graph(State, name="long")
    kinds = (says, untyped, sends, one)
    names = [f"n{number}" for number in range(size)]
    for number, name in enumerate(names):
        g.add_node(name, kinds[number % 4])
    g.add_edge(START, names[0]).add_edge(names[-1], END)
    for number, name in enumerate(names[:-1]):
        g.add_conditional_edges(name, pick, {"next": names[number + 1], "far": names[min(number + 9, size - 1)]})
    steps = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        g.check()
    finally:
        sys.setprofile(None)
    return steps


def test_the_page_on_checks_has_every_code_with_its_severity() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    listed = {code: row[2].split(",")[0].strip() for row in rows for code in re.findall(r"`(\w+)`", row[1])}
    found = {code: next(f.severity for f in make().check() if f.code == code) for code, _, make in PROVOKED}
    assert listed == found | {"claim_broken": "error", "claim_of_unknown_node": "error"}
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row[1]) if "waived" in row[2]} == WAIVABLE_ERRORS
