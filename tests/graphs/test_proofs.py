"""Proofs: each form, what branches and bounds make of it, and every answer against an enumeration of paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from vertebra import END, START, Graph, transition
from vertebra.errors import GraphInvalid, UsageError
from vertebra.testing import assert_graph


class State(BaseModel):
    items: list[str] = []
    n: int = 0


@transition
def nothing(state: State) -> None: ...


def pick(state: State) -> str: ...
def several(state: State) -> list[str]: ...


def graph(text: str, name: str = "g", **subgraphs: Graph) -> Graph:
    """Nodes and edges from lines: ``a b`` an edge, ``a ? b c`` a choice, ``a * b`` a fan-out, ``a + b > c`` a join.

    ``a ? b c /2 e``: at most twice round, then to ``e``.
    """
    g = Graph(State, name=name)
    lines = [line.split() for line in text.split(";")]
    for word in dict.fromkeys(word for words in lines for word in words):
        if word.isalpha() and word not in ("START", "END"):
            g.add_node(word, subgraphs.get(word, nothing))
    for first, *rest in [[{"START": START, "END": END}.get(word, word) for word in words] for words in lines]:
        if ">" in rest:
            g.add_edge([first, *rest[1 : rest.index(">") : 2]], rest[-1])
        elif rest[0] == "*":
            g.fan_out(first, rest[1], over="items")
        elif rest[0] in "?!":
            bound = next((number for number, word in enumerate(rest) if word[0] == "/"), len(rest))
            more: dict[str, Any] = {"max_visits": int(rest[bound][1:])} if bound < len(rest) else {}
            if rest[bound + 1 :]:
                more["on_exhausted"] = rest[-1]
            g.add_conditional_edges(first, pick if rest[0] == "?" else several, rest[1:bound], **more)
        else:
            g.add_edge(first, rest[0])
    return g


LINE = "START a; a b; b END"
DIAMOND = "START a; a ? b c; b d; c d; d END"
FORK = "START a; START b; a c; b c; c END"
JOIN = "START a; START b; a + b > c; c END"
LOOP = "START a; a b; b ? a c END /2 d; c END; d END"
STOPPED = "START a; a b; b ? a END /2"
ONLY_EXHAUSTED = "START a; a ? b /2 d; b a; d END"
SPREAD = "START a; a * w; w b; b END"
TWO_LOOPS = "START a; a ? a b /1; b ? a END /2"

HELD: list[tuple[str, dict[str, Any]]] = [
    (LINE, {"node": "a", "before": "b"}),
    (LINE, {"node": START, "before": "b"}),
    (LINE, {"node": "b", "before": END}),
    (LINE, {"never": "a", "after": "b"}),
    (LINE, {"never": "a", "after": "a"}),
    (LINE, {"at_most": ("a", 1)}),
    (LINE, {"eventually": END}),
    (LINE, {"eventually": START}),
    (DIAMOND, {"node": "a", "before": "d"}),
    (DIAMOND, {"never": "b", "after": "c"}),
    (DIAMOND, {"eventually": "d"}),
    (JOIN, {"node": "a", "before": "c"}),
    (JOIN, {"never": "a", "after": "c"}),
    (JOIN, {"at_most": ("c", 1)}),
    (JOIN, {"eventually": END}),
    (LOOP, {"at_most": ("a", 3)}),
    (LOOP, {"at_most": ("c", 1)}),
    (LOOP, {"node": "b", "between": ("a", "a")}),
    (LOOP, {"eventually": END}),
    (ONLY_EXHAUSTED, {"node": "b", "before": "d"}),
    (SPREAD, {"node": "a", "before": "w"}),
    (SPREAD, {"at_most": ("b", 1)}),
    (SPREAD, {"eventually": "b"}),
    (TWO_LOOPS, {"at_most": ("a", 2)}),
    ("START a; START b; a ? a END /2 END; b END", {"at_most": ("a", 3)}),
    ("START a; a ? b END /3 a; b ? a END /1 END", {"eventually": END}),  # the bound at a is never used up
]

BROKEN: list[tuple[str, dict[str, Any], str]] = [
    (LINE, {"node": "b", "before": "a"}, "START a"),
    (LINE, {"never": "b", "after": "a"}, "START a b"),
    (LINE, {"at_most": ("b", 0)}, "START a b"),
    (DIAMOND, {"node": "b", "before": "d"}, "START a c d"),
    (DIAMOND, {"node": "b", "between": ("a", "d")}, "START a c d"),
    (DIAMOND, {"eventually": "c"}, "START a b d END"),
    (FORK, {"node": "a", "before": "c"}, "START b c"),
    (FORK, {"never": "a", "after": "b"}, "START b a"),
    (FORK, {"at_most": ("c", 1)}, "START a c b c"),
    (JOIN, {"never": "a", "after": "b"}, "START b a"),
    (LOOP, {"at_most": ("a", 2)}, "START a b a b a"),
    (LOOP, {"node": "c", "before": "d"}, "START a b a b a b d"),
    (STOPPED, {"eventually": END}, "START a b a b a b"),
    ("START a; a ? a END", {"eventually": END}, "START a a"),
    ("START a; START b; a ? c END; b + c > d; d END", {"eventually": END}, "START b"),
    ("START a", {"eventually": END}, "START a"),
    (SPREAD, {"node": "w", "before": "b"}, "START a b"),
    (SPREAD, {"never": "w", "after": "w"}, "START a w w"),
    (SPREAD, {"at_most": ("w", 5)}, "START a w w"),
    (TWO_LOOPS, {"at_most": ("a", 1)}, "START a a"),
    ("START a; a ? b END /2 a; b a", {"eventually": END}, "START a b a b a a"),
    ("START a; a ! b c; b END; c END", {"never": "b", "after": "c"}, "START a c b"),
]


@pytest.mark.parametrize(("text", "claim"), HELD)
def test_a_claim_that_holds(text: str, claim: dict[str, Any]) -> None:
    proof = graph(text).prove(**claim)
    assert proof, proof
    assert proof.counterexample is None
    assert str(proof) == f"proved: {proof.claim}."


@pytest.mark.parametrize(("text", "claim", "path"), BROKEN)
def test_a_claim_that_is_broken_has_the_shortest_path(text: str, claim: dict[str, Any], path: str) -> None:
    proof = graph(text).prove(**claim)
    assert not proof
    assert proof.counterexample == tuple(path.split())
    assert " -> ".join(path.split()) in repr(proof)


def test_a_failed_node_has_not_done_what_is_claimed_but_it_has_run() -> None:
    g = Graph(State, name="g")
    g.add_node("c", nothing).add_node("a", nothing, fallback="c").add_node("b", nothing)
    g.add_edge(START, "a").add_edge("a", "b").add_edge("b", END)
    refuted = g.prove("a", before="b")
    assert refuted.counterexample == ("START", "a", "c", "b")
    assert refuted.note == "a fails and another stands in for it"
    assert not g.prove(never="c", after="a")
    assert g.prove(never="a", after="c")
    assert g.prove(eventually=END)


def nested(inner: str, outer: str = "START a; a sub; sub b; b END") -> Graph:
    return graph(outer, sub=graph(inner, name="sub"))


def test_a_subgraph_is_laid_open() -> None:
    g = nested("START x; x ? y END; y END")
    assert g.prove("a", before="sub/x")
    assert g.prove("sub/x", before="b")
    assert g.prove("sub/y", before="b").counterexample == ("START", "a", "sub", "sub/x", "b")
    assert g.prove("sub", between=("a", "b"))
    assert g.prove(never="sub/x", after="b")


def test_the_bounds_of_a_subgraph_begin_anew_each_time() -> None:
    g = nested("START x; x ? x END /1 END", "START sub; sub ? sub END /1 END")
    assert g.prove(at_most=("sub/x", 4))
    assert not g.prove(at_most=("sub/x", 3))


def test_a_way_round_that_renews_the_bounds_of_a_subgraph_has_no_end() -> None:
    inner = "START x; x ? y /1; y ? z END; z x"
    proof = nested(inner, "START sub; sub a; a sub").prove(eventually="sub/z")
    assert proof.counterexample == ("START", "sub", "sub/x", "sub/y", "a", "sub")
    assert nested(inner, "START sub; sub a; a ? sub END /1 END").prove(eventually="a").counterexample == (
        *("START", "sub", "sub/x", "sub/y", "sub/z", "sub/x"),
    )


def test_what_fails_in_a_subgraph_goes_to_the_stand_in_of_the_whole() -> None:
    g = Graph(State, name="g").add_node("c", nothing).add_node("b", nothing)
    g.add_node("sub", graph("START x; x y; y END", name="sub"), fallback="c")
    g.add_edge(START, "sub").add_edge("sub", "b").add_edge("b", END)
    assert g.prove("sub", before="b").counterexample == ("START", "sub", "c", "b")
    assert not g.prove("sub/x", before="b")
    assert g.prove(never="sub/x", after="c")


def test_a_subgraph_whose_join_waits_in_vain_is_left() -> None:
    g = nested("START x; START y; x ? p END; p + y > j; j END")
    assert not g.prove("sub/j", before="b")


def test_the_items_of_a_fan_out_run_beside_each_other_in_a_subgraph() -> None:
    g = nested("START x; x y; y END", "START a; a * sub; sub b; b END")
    assert not g.prove(never="sub/x", after="sub/y")
    assert g.prove("sub/x", before="sub/y")
    assert g.prove(never="a", after="sub/x")


def test_a_join_holds_the_order_that_a_plain_edge_does_not() -> None:
    held = "START a; START b; a v; v + b > s; s END"
    assert graph(held).prove("v", between=("a", "s"))
    assert graph(held).prove(never="b", after="s")
    loose = "START a; START b; a v; v s; b s; s END"
    assert not graph(loose).prove("v", between=("a", "s"))


def test_a_claim_that_is_kept_is_a_finding_with_the_path() -> None:
    g = graph(DIAMOND).require("a", before="d").require("b", before="d")
    (finding,) = g.check()
    assert (finding.code, finding.place) == ("claim_broken", "START -> a -> c -> d")
    with pytest.raises(GraphInvalid, match="b has run before any visit of d"):
        g.compile()
    (unknown,) = graph(LINE).require("x", before="b").check()
    assert unknown.code == "claim_of_unknown_node"


def test_a_claim_is_not_looked_at_while_the_graph_is_not_whole() -> None:
    g = graph(LINE).require("b", before="a").add_edge("b", "nowhere")
    assert {finding.code for finding in g.check()} >= {"unknown_node"}
    assert "claim_broken" not in {finding.code for finding in g.check()}


def test_a_claim_in_a_test_shows_the_path() -> None:
    assert_graph(graph(DIAMOND)).always("a", before="d").always(eventually=END)
    with pytest.raises(AssertionError, match=r"'g': not proved: b .* START -> a -> c -> d"):
        assert_graph(graph(DIAMOND)).always("b", before="d")


@pytest.mark.parametrize(
    "claim",
    [
        *({}, {"node": "a"}, {"before": "a"}, {"node": "a", "before": "a"}, {"node": "a", "between": "b"}),
        *({"node": "b", "between": ("a", "b")}, {"at_most": ("a", -1)}, {"at_most": ("a", True)}, {"at_most": "a"}),
        *({"eventually": "x"}, {"never": "a"}, {"node": "a", "before": "b", "eventually": END}),
    ],
)
def test_what_is_no_claim_is_refused(claim: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        graph(LINE).prove(**claim)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'validate'"):
        graph("START validate; validate END").prove("valdate", before=END)


def test_a_long_path_is_cut_in_the_middle_where_it_is_printed() -> None:
    proof = graph("START a; a ? a END /50").prove(at_most=("a", 50))
    assert len(proof.counterexample or ()) == 52
    assert "... 28 more ..." in str(proof)


# All paths of small graphs, by walking them.

NODES = "abcd"


@st.composite
def graphs(draw: st.DrawFn, back: bool = False) -> Graph:
    """Choices alone, some with bounds: one path a run. ``back``: a bound that is used up may lead anywhere."""
    g = Graph(State, name="random")
    for name in NODES:
        g.add_node(name, nothing)
    g.add_edge(START, "a")
    for name in NODES:
        targets = draw(st.lists(st.sampled_from([*NODES, END]), min_size=1, max_size=3, unique=True))
        bound = draw(st.sampled_from([1, 1, 2, None]))
        exhausted = draw(st.sampled_from([None, END, *(NODES if back else ())])) if bound else None
        g.add_conditional_edges(name, pick, targets, max_visits=bound, on_exhausted=exhausted)
    return g


LONGEST = 11


def walks(g: Graph) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Every path of at most ``LONGEST`` places, shortest first, and whether it is at its end, as the runtime would."""
    from vertebra.graphs.routing import Routing

    routing = Routing(g.definition)
    choices = {choice.source: (number, choice) for number, choice in enumerate(g.definition.choices)}
    layer: list[tuple[tuple[str, ...], tuple[int, ...]]] = [((START, "a"), (0,) * len(choices))]
    for _ in range(LONGEST - 1):
        following = []
        for path, counts in layer:
            if path[-1] == END:
                yield path, True
                continue
            number, choice = choices[path[-1]]
            targets: dict[tuple[str, int], None] = {}
            stopped = False
            for target in dict.fromkeys(choice.mapping.values()):
                if choice.max_visits is None or not routing._reenters(choice, target):
                    targets[target, 0] = None
                elif counts[number] < choice.max_visits:
                    targets[target, 1] = None
                elif choice.on_exhausted is not None:
                    targets[choice.on_exhausted, 0] = None
                else:
                    stopped = True
            yield path, stopped
            for target, used in targets:
                after = (*counts[:number], counts[number] + used, *counts[number + 1 :])
                following.append(((*path, target), after))
        layer = following[:800]


def breaks(path: tuple[str, ...], ended: bool, claim: dict[str, Any]) -> bool:
    last = path[-1]
    if "before" in claim:
        return last == claim["before"] and claim["node"] not in path
    if "never" in claim:
        return last == claim["never"] and claim["after"] in path[:-1]
    if "at_most" in claim:
        return path.count(claim["at_most"][0]) > claim["at_most"][1]
    if "between" in claim:
        first, then = claim["between"]
        seen = [number for number, name in enumerate(path[:-1]) if name == first]
        return last == then and bool(seen) and claim["node"] not in path[seen[-1] + 1 : -1]
    return claim["eventually"] not in path and (ended or path.count(last) > 7)


CLAIMS: list[dict[str, Any]] = [
    *({"node": x, "before": y} for x in NODES for y in ("b", END) if x != y),
    *({"never": x, "after": y} for x in NODES for y in NODES),
    *(
        {"node": x, "between": y}
        for x, y in [("b", ("a", "c")), ("c", ("a", "a")), ("d", ("b", "a")), ("a", ("b", END))]
    ),
    *({"at_most": (x, n)} for x in "ab" for n in (1, 2, 3)),
]


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_answers_agree_with_an_enumeration_of_paths(g: Graph) -> None:
    paths = list(walks(g))
    whole = all(len(path) < LONGEST for path, _ in paths)
    for claim in [*CLAIMS, {"eventually": END}, {"eventually": "b"}]:
        proof = g.prove(**claim)
        broken = next((path for path, ended in paths if breaks(path, ended, claim)), None)
        if broken is None:
            assert proof or not whole or len(proof.counterexample or ()) >= LONGEST, (claim, proof)
            continue
        assert not proof, (claim, broken)
        assert len(proof.counterexample or ()) <= len(broken), (claim, broken, proof)
        if whole:
            named = [{"START": START, "END": END}.get(name, name) for name in proof.counterexample or ()]
            assert any(path == tuple(named) and breaks(path, ended, claim) for path, ended in paths), (claim, proof)


Standing = tuple[str, tuple[int, ...]]


def walked(g: Graph) -> dict[Standing, list[Standing]]:
    """All that a run of such a graph can be: where it stands, with what its bounds have left, and what follows."""
    from vertebra.graphs.routing import Routing

    choices = {choice.source: (number, choice) for number, choice in enumerate(g.definition.choices)}
    reenters = Routing(g.definition)._reenters
    found: dict[Standing, list[Standing]] = {}
    stack: list[Standing] = [("a", (0,) * len(choices))]
    while stack:
        at = stack.pop()
        if at in found:
            continue
        found[at] = []
        if at[0] == END:
            continue
        number, choice = choices[at[0]]
        for target in choice.mapping.values():
            counts = list(at[1])
            if choice.max_visits is not None and reenters(choice, target):
                if counts[number] == choice.max_visits:
                    found[at] += [(choice.on_exhausted, at[1])] if choice.on_exhausted else []
                    continue
                counts[number] += 1
            found[at].append((target, tuple(counts)))
        stack += found[at]
    return found


@settings(max_examples=60, deadline=None)
@given(graphs(back=True))
def test_what_a_used_up_bound_leads_back_to_is_followed_exactly(g: Graph) -> None:
    import networkx as nx

    runs = walked(g)
    for goal in (END, "b"):
        free = nx.DiGraph()
        free.add_node(("a", (0,) * len(NODES)))
        free.add_edges_from((at, to) for at, after in runs.items() for to in after if goal not in (at[0], to[0]))
        before = nx.descendants(free, ("a", (0,) * len(NODES))) | {("a", (0,) * len(NODES))}
        stops = any(not runs[at] for at in before) or not nx.is_directed_acyclic_graph(free.subgraph(before))
        stops = stops or any(_stops(g, at) for at in before)
        proof = g.prove(eventually=goal)
        assert bool(proof) is not stops, (goal, proof)
    findings = {finding.code for finding in g.check()}
    bounds = g.bounds()
    if not findings & {"unbounded_cycle", "exhausted_within_cycle"}:
        assert max(bounds.visits.values()) < float("inf")
    walk = nx.DiGraph((at, to) for at, after in runs.items() for to in after)
    endless = {at for part in nx.strongly_connected_components(walk) if walk.subgraph(part).size() for at in part}
    for name in NODES:
        if any(at[0] == name for at in endless):
            assert bounds.visits[name] == float("inf")


def _stops(g: Graph, at: Standing) -> bool:
    """Whether the run may end here with ``LoopBoundReached``."""
    from vertebra.graphs.routing import Routing

    number, choice = next(((n, c) for n, c in enumerate(g.definition.choices) if c.source == at[0]), (0, None))
    if choice is None or choice.max_visits is None or choice.on_exhausted is not None:
        return False
    reenters = Routing(g.definition)._reenters
    return at[1][number] == choice.max_visits and any(reenters(choice, to) for to in choice.mapping.values())


@st.composite
def forking(draw: st.DrawFn) -> Graph:
    """Edges that lead forward: choices, parallel branches, joins."""
    g = Graph(State, name="forking")
    for name in NODES:
        g.add_node(name, nothing)
    places = [START, *NODES, END]
    for number, name in enumerate(places[:-1]):
        later = places[number + 1 :]
        targets = draw(st.lists(st.sampled_from(later), min_size=1, max_size=2, unique=True))
        if draw(st.booleans()):
            g.add_conditional_edges(name, pick, targets)
        else:
            for target in targets:
                g.add_edge(name, target)
    if draw(st.booleans()):
        g.add_edge(draw(st.sampled_from([["a", "b"], ["b", "c"], ["a", "c"]])), "d")
    return g


def orders(g: Graph, limit: int = 400) -> Iterator[tuple[str, ...]]:
    """Runs as the visits that they make, each branch as slow as it likes."""
    d = g.definition
    stack: list[tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]] = [((), (START,), frozenset())]
    while stack and limit:
        path, pending, arrived = stack.pop()
        if not pending:
            limit -= 1
            yield path
        for node in sorted(set(pending)):
            rest = list(pending)
            rest.remove(node)
            rest += d.static_targets(node)
            at = arrived | {node}
            for sources, target in d.joins:
                if node in sources and at >= set(sources):
                    rest.append(target)
                    at -= set(sources)
            picks = [choice.targets for choice in d.choices if choice.source == node]
            for picked in picks[0] if picks else [None]:
                stack.append(((*path, node), tuple(sorted([*rest, picked] if picked else rest)), at))


@settings(max_examples=40, deadline=None)
@given(forking())
def test_what_is_proved_holds_in_every_order_of_parallel_branches(g: Graph) -> None:
    runs = list(orders(g))
    for claim in [*CLAIMS, {"eventually": "d"}]:
        if not g.prove(**claim):
            continue
        for run in runs:
            if "eventually" in claim:
                assert "d" in run, (claim, run)
                continue
            prefixes = (run[: number + 1] for number in range(len(run)))
            assert not any(breaks(prefix, False, claim) for prefix in prefixes), (claim, run)
