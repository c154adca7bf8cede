"""``vertebra graph diff``: what threads in flight would meet, by position and counted in a database."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from pathlib import Path

import pytest

from tests.checkpointers.encrypted import execute
from tests.cli.conftest import Shell
from vertebra.cli.differing import diff
from vertebra.errors import UsageError

OLD = """
from pydantic import BaseModel
from vertebra import END, START, Graph, human, transition

class State(BaseModel):
    n: int = 0
    ok: bool | None = None

def named(name):
    def step(state): return {"n": state.n + 1}
    step.__name__ = name
    return transition(step)

@human(answer=bool)
def early(state): return "Early?"

@human(answer=bool)
def late(state): return "Late?"

first, middle, last = (named(name) for name in ("first", "middle", "last"))

def line(*nodes, version="1", name="line"):
    g = Graph(State, name=name, version=version)
    for before, after in zip((START, *nodes), (*nodes, END)):
        g.add_edge(before, after)
    return g

graph = line(first, early, middle, late, last)
unlike = line(first, version="1", name="unlike")
"""

NEW = """
from {old} import *

graph = line(first, early, late, last, version="2")
same = line(first, early, middle, late, last)
carried = line(first, early, late, last, version="2")
picky = line(first, early, late, last, version="2")

@carried.migration(from_version="1")
def carry(values, standing):
    return values

@picky.migration(from_version="1")
def pick(values, standing):
    if standing.next == ("early",):
        raise ValueError("too early")
    return values

from langgraph.graph import StateGraph
builder = StateGraph(State).add_node("first", lambda state: {{}})
builder.add_edge(START, "first")
adopted = Graph.from_langgraph(builder, name="line", version="2")
"""


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Modules with the two versions, importable here, under names of this test's own."""
    suffix = f"{abs(hash(request.node.nodeid)):x}"
    old, new = f"old_{suffix}", f"new_{suffix}"
    (tmp_path / f"{old}.py").write_text(OLD)
    (tmp_path / f"{new}.py").write_text(NEW.format(old=old))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return old, new


def told(
    names: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    new: str = "graph",
    store: str | None = None,
    *,
    as_json: bool = True,
    old: str = "graph",
    draw: str | None = None,
) -> tuple[int, str]:
    options = Namespace(old=f"{names[0]}:{old}", new=f"{names[1]}:{new}", store=store, json=as_json, draw=draw)
    code = asyncio.run(diff(options))
    return code, capsys.readouterr().out


def by_position(text: str) -> dict[str, str]:
    return {item["node"]: item["verdict"] for item in json.loads(text)["positions"]}


def test_each_position_has_its_verdict(names: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(names, capsys)
    assert code == 4
    assert by_position(text) == {
        "__start__": "refused",
        "early": "refused",
        "first": "refused",
        "last": "goes on",
        "late": "goes on",
        "middle": "refused",
    }
    data = json.loads(text)
    assert "- nodes.middle: transition" in data["changes"]
    assert data["threads"] is None
    (early,) = [item for item in data["positions"] if item["node"] == "early"]
    assert "- early.edges: early -> middle" in early["changes"]
    code, text = told(names, capsys, "carried")
    assert (code, set(by_position(text).values())) == (0, {"migrates"})
    code, text = told(names, capsys, "same")
    assert (code, set(by_position(text).values())) == (0, {"goes on"})
    for old, new in (("unlike", "carried"), ("graph", "adopted")):
        code, text = told(names, capsys, new, old=old)
        assert (code, set(by_position(text).values())) == (4, {"refused"})


def test_what_has_changed_can_be_drawn_too(names: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(names, capsys, as_json=False, draw="changes.svg")
    assert (code, text.splitlines()[-1]) == (4, "Wrote changes.svg.")
    assert "line 1 → line 2" in Path("changes.svg").read_text()
    assert json.loads(told(names, capsys, draw="changes.mmd")[1])["changes"]
    assert Path("changes.mmd").read_text().startswith("flowchart")
    assert "Add --draw FILE.svg" in told(names, capsys, as_json=False)[1]
    assert "--draw" not in told(names, capsys, old="graph", new="same", as_json=False)[1]
    for new, file in (("graph", "changes.jpeg"), ("graph", "no/where.svg"), ("adopted", "changes.svg")):
        with pytest.raises(UsageError):
            told(names, capsys, new, draw=file)


async def in_flight(names: tuple[str, str], url: str) -> None:
    """Two threads that wait early, one that waits late, one that has ended, one of another graph."""
    import importlib

    module = importlib.import_module(names[0])
    async with module.graph.compile(checkpointer=url) as app:
        for thread in ("a", "b", "c", "d"):
            await app.run({}, thread_id=thread)
        for thread, answers in (("c", 1), ("d", 2)):
            for _ in range(answers):
                await app.resume(thread, True)
    async with module.unlike.compile(checkpointer=url) as app:
        await app.run({}, thread_id="e")


def test_threads_are_counted_and_left_as_they_are(
    names: tuple[str, str], capsys: pytest.CaptureFixture[str], durable_url: str
) -> None:
    asyncio.run(in_flight(names, durable_url))

    def counts(new: str) -> tuple[int, dict[tuple[str, str], int]]:
        code, text = told(names, capsys, new, durable_url)
        rows = json.loads(text)["threads"]
        return code, {(row["position"], row["verdict"]): row["count"] for row in rows}

    for _ in range(2):
        assert counts("graph") == (4, {("early", "refused"): 2, ("late", "goes on"): 1})
        assert counts("carried") == (0, {("early", "migrates"): 2, ("late", "migrates"): 1})
        assert counts("picky") == (4, {("early", "refused"): 2, ("late", "migrates"): 1})
        assert counts("same") == (0, {("early", "goes on"): 2, ("late", "goes on"): 1})
    code, text = told(names, capsys, "graph", durable_url, as_json=False)
    assert code == 4
    assert "3 threads in flight." in text
    assert "- early.edges: early -> middle" in text
    code, text = told(names, capsys, "same", as_json=False)
    assert (code, text.splitlines()[0]) == (0, "Nothing has changed.")


def test_as_its_user_runs_it(shell: Shell) -> None:
    (shell.folder / "old.py").write_text(OLD)
    (shell.folder / "new.py").write_text(NEW.format(old="old"))
    refused = shell("graph", "diff", "old:graph", "new:graph")
    assert (refused.returncode, refused.stderr) == (4, "")
    assert "goes on" in refused.stdout
    assert shell.json("graph", "diff", "old:graph", "new:carried")["threads"] is None
    shell("run", "old:graph", "--thread", "t")
    assert shell("resume", "new:carried", "t", "--answer", "true").returncode == 3
    assert "changed its version 1 -> 2" in shell("show", "t").stdout
    counted = shell.json("graph", "diff", "old:graph", "new:carried", "--store", "sqlite:///vertebra.db")
    assert counted["threads"] == [{"position": "late", "verdict": "goes on", "count": 1}]
    missing = shell.json("graph", "diff", "old:graph", "new:carried", "--store", "sqlite:///none.db", code=5)
    assert missing["error"]["code"] == "store_unavailable"


def test_damaged_threads_are_counted_too(
    names: tuple[str, str], capsys: pytest.CaptureFixture[str], durable_url: str
) -> None:
    asyncio.run(in_flight(names, durable_url))
    execute(durable_url, "UPDATE vertebra_threads SET shape = 'x' WHERE thread = 'a'")
    if durable_url.startswith("sqlite"):
        of_b = "(SELECT number FROM vertebra_state_threads WHERE thread = 'b')"
        execute(durable_url, f"UPDATE vertebra_state_checkpoints SET data = ? WHERE thread_number = {of_b}", b"")
    else:
        execute(durable_url, "UPDATE checkpoints SET checkpoint = '{}' WHERE thread_id = 'b'")
    code, text = told(names, capsys, "same", durable_url)
    counts = {(row["position"], row["verdict"]): row["count"] for row in json.loads(text)["threads"]}
    assert (code, counts) == (4, {("late", "goes on"): 1, ("unreadable", "refused"): 2})
