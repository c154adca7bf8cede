"""A run in a cell, in this process: a real shell of IPython with a display publisher that keeps what is published."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from vertebra.testing import ScriptedModel

DEFINE = """
import asyncio
from pydantic import BaseModel
from vertebra import END, START, Append, Context, Graph, Question, Retry, effect, human, llm, transition

class Approval(BaseModel):
    ok: bool

class Visit(BaseModel):
    text: str = ""
    notes: Append[str] = []
    approval: Approval | None = None

broken = False

@llm
async def draft(visit: Visit, ctx: Context):
    messages = [{"role": "user", "content": visit.text}]
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=messages)
    await asyncio.sleep(0.5)  # longer than between two pictures
    return {"notes": [reply.choices[0].message.content]}

@human(answer=Approval)
def approve(visit: Visit):
    return Question("Is <this> right?", data=visit.notes)

@effect(retry=Retry(attempts=1))
def file(visit: Visit):
    if broken:
        raise RuntimeError("the cabinet is locked")
    return {"notes": ["filed"]}

graph = Graph(Visit, name="scribe")
graph.add_edge(START, draft).add_edge(draft, approve).add_edge(approve, file).add_edge(file, END)
scribe = graph.compile(default_model="m")
"""

Cell = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def cell(scripted_model: ScriptedModel) -> Iterator[Cell]:
    """Executes a cell; what was published for it. ``shell.kernel`` is all that tells a kernel's shell from this one."""
    main = sys.modules["__main__"]
    shell = InteractiveShell.instance(
        display_pub_class=CapturingDisplayPublisher, config=Config({"HistoryManager": {"enabled": False}})
    )
    shell.kernel = shell

    def execute(source: str) -> list[dict[str, Any]]:
        shell.display_pub.outputs = []
        result = asyncio.run(shell.run_cell_async(source, transformed_cell=source, store_history=True))
        result.raise_error()
        published: list[dict[str, Any]] = shell.display_pub.outputs
        return published

    execute(DEFINE)
    try:
        yield execute
    finally:
        InteractiveShell.clear_instance()
        sys.modules["__main__"] = main


def test_a_run_is_drawn_while_it_goes_on_and_asks_in_the_end(cell: Cell) -> None:
    published = cell("run = await scribe.run({'text': 'He coughs.'}, thread_id='t')")
    places = list(dict.fromkeys(each["transient"]["display_id"] for each in published))
    assert len(places) == 2, "the picture, and the question"
    pictures = [each for each in published if each["transient"]["display_id"] == places[0]]
    assert [each["update"] for each in pictures] == [False, *[True] * (len(pictures) - 1)]
    assert len(pictures) >= 3
    assert all("image/svg+xml" in each["data"] for each in pictures)
    assert pictures[0]["data"]["text/plain"].endswith(", running")
    assert "image/png" in pictures[-1]["data"]
    (asked,) = [each["data"] for each in published if each["transient"]["display_id"] == places[1]]
    assert "run = await scribe.resume('t', Approval(ok=True))" in asked["text/plain"]
    assert "Is &lt;this&gt; right?" in asked["text/html"]
    assert cell("print(run.status)") == []


def test_a_node_that_fails_is_drawn_as_failed_and_the_listener_is_told_all_the_same(cell: Cell) -> None:
    cell("told = []\nawait scribe.run({'text': 'a'}, thread_id='t')\nbroken = True")
    published = cell("run = await scribe.resume('t', Approval(ok=True), on_event=told.append)\nassert told")
    assert "failed" in published[-1]["data"]["text/plain"] or "failed" in published[-1]["data"]["image/svg+xml"]
    published = cell(
        "run = await scribe.resume('t', skip='file', update={'notes': ['by hand']})\nassert run.output.notes"
    )
    assert "image/png" in published[-1]["data"]


def test_what_cannot_be_drawn_breaks_no_run(cell: Cell) -> None:
    cell("from IPython import get_ipython\npublisher = get_ipython().display_pub\ndef locked(**given): 1 / 0")
    cell("publisher.publish = locked\nrun = await scribe.run({'text': 'a'}, thread_id='u')\ndel publisher.publish")
    assert cell("assert run.status == 'interrupted'") == []


def test_the_steps_of_a_thread_show_what_each_changed(cell: Cell) -> None:
    cell("await scribe.run({'text': 'a'}, thread_id='t')\nawait scribe.resume('t', Approval(ok=True))")
    cell("steps = await scribe.steps('t')\ntext, html = str(steps), steps._repr_mimebundle_()['text/html']")
    cell("assert [step.nodes for step in steps[1:]] == [('__start__',), ('draft',), ('approve',), ('file',)], text")
    cell("assert '+ approval: {\"ok\": true}' in text and 'filed' in text and len(steps) == 5")
    cell("assert html.count('<details>') == 5 and '<del>' in html and repr(steps) == \"<Steps of thread 't': 5>\"")
