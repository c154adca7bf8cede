"""What is laid over a picture: real runs, refuted claims, other versions."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Retry, Run, effect, human, llm, transition
from vertebra.errors import UsageError
from vertebra.graphs.pictures import Picture
from vertebra.graphs.pictures.marking import level_of
from vertebra.graphs.pictures.sketch import Box, Sketch
from vertebra.testing import ScriptedModel


class Visit(BaseModel):
    text: str = ""
    pieces: list[str] = []
    notes: Append[str] = []
    ok: bool | None = None
    fails: int = 0


@transition
def cut(visit: Visit) -> dict[str, Any]:
    return {"pieces": visit.text.split()}


@llm
async def summarise(piece: str, ctx: Context) -> dict[str, Any]:
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": piece}])
    return {"notes": [reply.choices[0].message.content or ""]}


@human(answer=bool)
def approve(visit: Visit) -> str:
    return "Send it?"


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        model.on().reply("short")
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        yield model


FAILURES: dict[str, int] = {}


@effect(retry=Retry(attempts=2, wait_initial_s=0.001, jitter_s=0))
def send(visit: Visit) -> dict[str, Any]:
    if FAILURES.get(visit.text, 0) > 0:
        FAILURES[visit.text] -= 1
        raise ConnectionError("the post is closed")
    return {}


@transition
def drop(visit: Visit) -> dict[str, Any]:
    return {}


def scribe(version: str = "1") -> Graph:
    graph = Graph(Visit, name="scribe", version=version)
    graph.add_edge(START, cut)
    graph.fan_out(cut, summarise, over="pieces")
    graph.add_edge(summarise, approve)
    graph.add_conditional_edges(approve, lambda visit: visit.ok, {True: send, False: drop})
    graph.add_edge(send, END)
    graph.add_edge(drop, END)
    return graph


def boxes(picture: Picture) -> dict[str, Box]:
    return {box.name: box for box in picture.sketch.boxes}


def taken(sketch: Sketch, tone: str = "taken") -> set[tuple[str, str]]:
    return {line.ends for line in sketch.lines if line.tone == tone}


async def test_a_run_is_laid_over_its_graph_as_it_stands(tmp_path: Path) -> None:
    async with scribe().compile(checkpointer=f"sqlite:///{tmp_path}/a.db", default_model="m") as app:
        run = await app.run({"text": "one two three"}, thread_id="t")
        shown = boxes(run.draw())
        assert shown["approve"].tone == "waiting"
        assert "waits for an answer" in shown["approve"].notes
        assert shown["summarise"].notes[0].startswith("3×")
        assert "3 calls" in shown["summarise"].notes[1]
        assert shown["send"].tone == shown["drop"].tone == "faded"
        assert taken(run.draw().sketch) == {(START, "cut"), ("cut", "summarise"), ("summarise", "approve")}

        FAILURES["one two three"] = 1
        run = await app.resume("t", True)
        shown = boxes(run.draw())
        assert run.status == "done"
        assert "1 retry" in shown["send"].notes[-1]
        assert shown["drop"].tone == "faded"
        assert taken(run.draw().sketch) >= {("approve", "send"), ("send", END)}
        assert ("approve", "drop") not in taken(run.draw().sketch)
        stored = await app.draw("t")
        assert stored.svg == run.draw().svg
        assert "done · 3 calls" in stored.text


async def test_where_a_run_failed_is_said_with_the_error() -> None:
    async with scribe().compile(default_model="m") as app:
        FAILURES["x"] = 9
        await app.run({"text": "x"}, thread_id="t")
        run = await app.resume("t", True)
        assert run.status == "failed"
        failed = boxes(run.draw())["send"]
        assert failed.tone == "bad"
        assert failed.notes[-1] == "failed: node_failed"
        assert ("approve", "send") in taken(run.draw().sketch)
        assert ("send", END) not in taken(run.draw().sketch)
        FAILURES["x"] = 0
        assert boxes((await app.resume("t")).draw())["send"].tone == "taken"


async def test_within_a_subgraph_the_way_is_shown_and_each_turn_stands_for_itself() -> None:
    def loop(visit: Visit) -> str:
        return "again" if len(visit.notes) < 2 else "done"

    @transition
    def write(visit: Visit) -> dict[str, Any]:
        return {"notes": ["x"]}

    inner = Graph(Visit, name="inner")
    inner.add_edge(START, write)
    inner.add_conditional_edges(write, loop, {"again": write, "done": drop}, max_visits=3)
    inner.add_edge(drop, END)
    outer = Graph(Visit, name="outer")
    outer.add_edge(START, cut)
    outer.add_edge(cut, inner)
    outer.add_edge(inner, END)
    async with outer.compile() as app:
        run = await app.run({"text": "a"})
        assert run.status == "done"
        within = boxes(run.draw())["inner"].inner
        assert within is not None
        marks = {box.name: box for box in within.boxes}
        assert marks["write"].notes[0].startswith("2×")
        assert taken(within) == {(START, "write"), ("write", "write"), ("write", "drop"), ("drop", END)}
        folded = boxes(run.draw(depth=0))["inner"]
        assert folded.inner is None
        assert folded.tone == "taken"


async def test_a_run_can_be_pickled_and_drawn_elsewhere_and_says_so_where_it_cannot() -> None:
    async with scribe().compile() as app:
        run = await app.run({"text": ""})
        assert pickle.loads(pickle.dumps(run)).draw().svg == run.draw().svg
    with pytest.raises(UsageError, match="does not know its graph"):
        Run("t", "r", "done").draw()


def test_a_refuted_claim_is_drawn_with_the_path_that_refutes_it() -> None:
    graph = scribe()
    proof = graph.prove(send, before=drop)
    assert not proof
    sketch = proof.draw().sketch
    path = list(proof.counterexample or ())
    assert [box.name for box in sketch.boxes if box.tone == "refuted"] == ["START", *path[1:]]
    assert ("approve", "drop") in taken(sketch, "refuted")
    assert ("approve", "send") not in taken(sketch, "refuted")
    assert "not proved" in proof.draw().text
    proved = graph.prove(approve, before=send)
    assert {box.tone for box in proved.draw().sketch.boxes} == {""}
    assert "proved" in proved.draw().svg


def test_two_versions_are_shown_in_one_picture() -> None:
    old, new = scribe(), Graph(Visit, name="scribe", version="2")
    new.add_edge(START, cut)
    new.add_edge(cut, approve)
    new.add_edge(approve, send)
    new.add_edge(send, "log")
    new.add_node("log", transition(lambda visit: {}))
    new.add_edge("log", END)
    picture = new.draw(diff=old)
    tones = {name: box.tone for name, box in boxes(picture).items()}
    assert tones["log"] == "added"
    assert tones["drop"] == tones["summarise"] == "removed"
    assert tones["cut"] == tones["send"] == ""
    assert ("send", END) in taken(picture.sketch, "removed")
    assert {("send", "log"), ("log", END), ("approve", "send")} <= taken(picture.sketch, "added")
    assert "scribe 1 → scribe 2" in picture.text
    same = scribe().draw(diff=scribe())
    assert {box.tone for box in same.sketch.boxes} == {""}
    with pytest.raises(UsageError, match="not both"):
        new.draw(diff=old, run=Run("t", "r", "done"))


def test_a_node_of_another_kind_is_changed() -> None:
    old, new = Graph(Visit, name="g"), Graph(Visit, name="g")
    for graph, kind in ((old, transition), (new, effect)):
        graph.add_node("step", kind(lambda visit: {}))
        graph.add_edge(START, "step")
        graph.add_edge("step", END)
    assert boxes(new.draw(diff=old))["step"].tone == "changed"


def test_the_place_of_a_visit_is_read_from_its_name() -> None:
    assert level_of("scribe@3/summarise@1#4~b7") == (("scribe", "summarise"), 1)
    assert level_of("cut@1") == (("cut",), 1)
    assert level_of("send@2!post~b1") == (("send",), 2)
    assert level_of("a@b@4") == (("a@b",), 4)
