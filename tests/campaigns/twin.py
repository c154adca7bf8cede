"""The reference graph in plain LangGraph: the same bodies with the plain ``openai`` client, for comparison.

Its saver passes crash points of the same names as Vertebra's, and so do its nodes, so that both are killed at the same
kind of instants. Otherwise it is what LangGraph's own documentation shows.
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypedDict

import openai
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from tests.campaigns import bodies
from tests.campaigns.reference import TEXT
from tests.campaigns.witness import Witness, current_witness
from vertebra.ports import crash_point, set_crash_hook

POINTS = ("node.started", "node.returned", "writes.before", "writes.after", "checkpoint.before", "checkpoint.after")
SOON = RetryPolicy(initial_interval=0.005, max_attempts=4, jitter=False, retry_on=(ValueError, ConnectionError))


class Work(TypedDict, total=False):
    text: str
    pieces: list[str]
    notes: Annotated[list[str], operator.add]
    compared: list[str]
    opinion: list[str]
    drafts: Annotated[list[str], operator.add]
    rounds: int
    score: int
    approval: dict[str, bool]
    receipt: str


class Review(TypedDict, total=False):
    text: str
    read: list[str]
    opinion: list[str]


class PointedSaver(AsyncSqliteSaver):
    """LangGraph's saver, with names for the instants around its writes."""

    async def aput(self, *args: Any, **kwargs: Any) -> Any:
        crash_point("checkpoint.before")
        result = await super().aput(*args, **kwargs)
        crash_point("checkpoint.after")
        return result

    async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
        crash_point("writes.before")
        await super().aput_writes(*args, **kwargs)
        crash_point("writes.after")


@cache
def client() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI()


def cut(work: Work) -> Work:
    return {"pieces": work["text"].split()}


def each(work: Work) -> list[Send]:
    return [Send("summarise", piece) for piece in work["pieces"]]


async def summarise(piece: str) -> Work:
    return {"notes": [await bodies.ask(client(), f"Summarise {piece}")]}


async def compare(work: Work) -> Work:
    return {"compared": await bodies.compare(client(), work["text"])}


async def read(review: Review) -> Review:
    answers = await bodies.read(client(), review["text"])
    current_witness.get().attempted(f"file {review['text']}", None)
    return {"read": answers}


def weigh(review: Review) -> Review:
    return {"opinion": review["read"][::-1]}


def draft(work: Work) -> Work:
    rounds = work.get("rounds", 0)
    return {"drafts": [bodies.draft_sync(openai.OpenAI(), rounds)], "rounds": rounds + 1}


async def score(work: Work) -> Work:
    return {"score": int(await bodies.score(client()))}


def approve(work: Work) -> Work:
    return {"approval": interrupt("Send it?")}


def publish(work: Work) -> Work:
    if current_witness.get().attempted("publish", None) == 1:
        raise ConnectionError("The other system hung up.")
    return {"receipt": "published"}


def _pointed(node: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The node with names for its start and return."""

    async def run(state: Any) -> Any:
        crash_point("node.started")
        result = await node(state) if asyncio.iscoroutinefunction(node) else await asyncio.to_thread(node, state)
        crash_point("node.returned")
        return result

    # A question must be asked from LangGraph's own task.
    return run if node is not approve else node


def build() -> StateGraph[Any]:
    inner = StateGraph(Review)
    inner.add_node("read", _pointed(read))
    inner.add_node("weigh", _pointed(weigh))
    inner.add_edge(START, "read")
    inner.add_edge("read", "weigh")
    inner.add_edge("weigh", END)
    g = StateGraph(Work)
    for node in (cut, summarise, compare, draft, score, approve, publish):
        g.add_node(node.__name__, _pointed(node), retry_policy=SOON)
    g.add_node("review", inner.compile())
    g.add_edge(START, "cut")
    g.add_conditional_edges("cut", each, ["summarise"])
    g.add_edge("summarise", "compare")
    g.add_edge("compare", "review")
    g.add_edge("review", "draft")
    g.add_conditional_edges("draft", lambda work: "draft" if work["rounds"] < bodies.ROUNDS else "score")
    g.add_edge("score", "approve")
    g.add_edge("approve", "publish")
    g.add_edge("publish", END)
    return g


async def drive(folder: str, durability: Any) -> dict[str, Any]:
    """From wherever the thread stands to its end: a new input, the answer to its question, or None to go on."""
    current_witness.set(Witness(Path(folder)))
    async with PointedSaver.from_conn_string(f"{folder}/twin.db") as saver:
        graph = build().compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        snapshot = await graph.aget_state(config)
        # `next` is no guide here: it may be empty although there is more to do, after a kill between two writes.
        given: Any = {"text": TEXT} if snapshot.created_at is None else None
        while True:
            if snapshot.interrupts:
                given = Command(resume={"ok": True})
            await graph.ainvoke(given, config, durability=durability)
            snapshot, given = await graph.aget_state(config), None
            if not snapshot.next:
                return dict(snapshot.values)


def start(ready: Callable[[], None], *, folder: str, durability: str) -> dict[str, Any]:
    """A process that takes the thread to its end from where it is: the first one as well as its successor."""
    ready()
    return asyncio.run(drive(folder, durability))


def counted(ready: Callable[[], None], *, folder: str, durability: str) -> dict[str, Any]:
    """``start``, returning how often each point was passed too."""
    passed: Counter[str] = Counter()
    set_crash_hook(lambda name: passed.update([name]))
    return {"state": start(ready, folder=folder, durability=durability), "passed": dict(passed)}
