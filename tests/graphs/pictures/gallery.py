"""The twelve reference graphs. ``python -m tests.graphs.pictures.gallery`` draws them anew into docs/gallery."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

from vertebra import END, START, Graph, effect, human, llm, transition

FOLDER = Path(__file__).parents[3] / "docs" / "gallery"


class State(TypedDict, total=False):
    """What no picture shows."""

    items: list[str]


def route(state: State) -> str:
    return ""


def node(kind: Callable[..., Any], name: str) -> Any:
    def body(state: State) -> dict[str, Any]:
        return {}

    body.__name__ = body.__qualname__ = name
    return kind(body)


def chain(graph: Graph, *nodes: Any) -> Graph:
    for source, target in pairwise(nodes):
        graph.add_edge(source, target)
    return graph


def linear() -> Graph:
    steps = node(transition, "read"), node(llm, "draft"), node(human, "approve"), node(effect, "send")
    return chain(Graph(State, name="linear"), START, *steps, END)


def diamond() -> Graph:
    read, facts, tone, merge = (
        node(transition, "read"),
        node(llm, "facts"),
        node(llm, "tone"),
        node(transition, "merge"),
    )
    graph = chain(Graph(State, name="diamond"), START, read, facts)
    graph.add_edge(read, tone)
    graph.add_edge([facts, tone], merge)
    return chain(graph, merge, END)


def tool_loop() -> Graph:
    model, tools, approve, answer = (
        node(llm, "model"),
        node(effect, "tools"),
        node(human, "approve"),
        node(llm, "answer"),
    )
    graph = chain(Graph(State, name="tool loop"), START, model)
    ways = {"call": tools, "ask first": approve, "done": answer}
    graph.add_conditional_edges(model, route, ways, max_visits=8, on_exhausted=answer)
    graph.add_edge(tools, model)
    graph.add_conditional_edges(approve, route, {"yes": tools, "no": answer})
    return chain(graph, answer, END)


def supervisor() -> Graph:
    boss = node(llm, "supervisor")
    workers = {"research": node(llm, "researcher"), "write": node(llm, "writer"), "publish": node(effect, "publisher")}
    graph = chain(Graph(State, name="supervisor"), START, boss)
    graph.add_conditional_edges(boss, route, {**workers, "finish": END}, max_visits=12)
    for worker in workers.values():
        graph.add_edge(worker, boss)
    return graph


def map_reduce() -> Graph:
    split, summarise, merge = node(transition, "split"), node(llm, "summarise"), node(transition, "merge")
    graph = chain(Graph(State, name="map-reduce"), START, split)
    graph.fan_out(split, summarise, over="items")
    return chain(graph, summarise, merge, END)


def nested() -> Graph:
    critique, score, rewrite = node(llm, "critique"), node(transition, "score"), node(llm, "rewrite")
    review = chain(Graph(State, name="review"), START, critique, score)
    review.add_conditional_edges(score, route, {"poor": rewrite, "good": END}, max_visits=3)
    review.add_edge(rewrite, critique)
    collect, send = node(transition, "collect"), node(effect, "send")
    return chain(Graph(State, name="nested"), START, collect, review, send, END)


def large() -> Graph:
    """150 nodes: nine stages, each of which spreads, checks and repeats."""
    graph = Graph(State, name="150 nodes")
    before: Any = START
    for stage in range(9):
        gather = node(transition, f"gather {stage}")
        graph.add_edge(before, gather)
        ends = []
        for branch in range(4):
            steps = [
                node(kind, f"{word} {stage}.{branch}")
                for kind, word in ((llm, "draft"), (llm, "check"), (effect, "store"))
            ]
            chain(graph, gather, *steps)
            ends.append(steps[-1])
        merge, judge = node(transition, f"merge {stage}"), node(llm, f"judge {stage}")
        graph.add_edge(ends, merge)
        graph.add_edge(merge, judge)
        before = judge
        if stage % 3 == 2:
            after = node(transition, f"stage {stage} done")
            graph.add_conditional_edges(judge, route, {"again": gather, "on": after}, max_visits=2)
            before = after
    for number in range(150 - len(graph.definition.nodes)):
        report = node(effect, f"report {number}")
        graph.add_edge(before, report)
        graph.add_edge(report, END)
    return graph


def long_labels() -> Graph:
    collect = node(transition, "collect_all_of_the_evidence_that_has_been_submitted_by_the_applicant")
    weigh = node(llm, "Weigh what speaks for & against <the claim>")
    ask = node(human, "ask_the_officer_on_duty_for_a_decision")
    graph = chain(Graph(State, name="long labels"), START, collect, weigh)
    ways = {
        "evidence is sufficient and undisputed": END,
        "somebody has to look at it in person": ask,
        "unclear": collect,
    }
    graph.add_conditional_edges(weigh, route, ways, max_visits=3)
    return chain(graph, ask, END)


def right_to_left() -> Graph:
    read, draft, approve = node(transition, "קריאה"), node(llm, "צור טיוטה (v2)"), node(human, "موافقة الطبيب")
    send, translate = node(effect, "送信する"), node(llm, "要約と翻訳")
    graph = chain(Graph(State, name="right to left שלום"), START, read, draft, approve)
    graph.add_conditional_edges(approve, route, {"نعم": send, "לא": draft, "翻訳": translate}, max_visits=3)
    graph.add_edge(translate, send)
    return chain(graph, send, END)


def two_way() -> Graph:
    ask, answer = node(llm, "ask"), node(llm, "answer")
    graph = chain(Graph(State, name="two-way"), START, ask)
    graph.add_conditional_edges(ask, route, {"question": answer, "again": answer, "enough": END}, max_visits=5)
    graph.add_conditional_edges(answer, route, {"reply": ask, "counter-question": ask, "end": END}, max_visits=5)
    return graph


def self_loop() -> Graph:
    poll, use = node(effect, "poll"), node(transition, "use")
    graph = chain(Graph(State, name="self loop"), START, poll)
    graph.add_conditional_edges(poll, route, {"not yet": poll, "ready": use}, max_visits=20, on_exhausted=END)
    return chain(graph, use, END)


def disconnected() -> Graph:
    graph = chain(Graph(State, name="disconnected"), START, node(transition, "read"), node(llm, "answer"), END)
    graph.add_node(node(effect, "forgotten"))
    return chain(graph, node(llm, "orphan"), node(effect, "island"))


GALLERY: dict[str, Callable[[], Graph]] = {
    "linear": linear,
    "diamond": diamond,
    "tool-loop": tool_loop,
    "supervisor": supervisor,
    "map-reduce": map_reduce,
    "nested": nested,
    "150-nodes": large,
    "long-labels": long_labels,
    "right-to-left": right_to_left,
    "two-way": two_way,
    "self-loop": self_loop,
    "disconnected": disconnected,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, make in GALLERY.items():
        make().draw().save(FOLDER / f"{name}.svg")
