"""A notebook in a real kernel: what graphs, runs and steps show, while a run goes on and after."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from vertebra.graphs.pictures.notebook import in_words
from vertebra.testing import ScriptedModel
from vertebra.types import Run, Usage

ROOT = Path(__file__).parents[2]

DEFINE = """
from pydantic import BaseModel
from vertebra import END, START, Append, Context, Graph, Question, human, llm, transition

class Approval(BaseModel):
    ok: bool

class Visit(BaseModel):
    text: str = ""
    notes: Append[str] = []
    approval: Approval | None = None

@llm
async def draft(visit: Visit, ctx: Context):
    messages = [{"role": "user", "content": visit.text}]
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=messages)
    return {"notes": [reply.choices[0].message.content]}

@human(answer=Approval)
def approve(visit: Visit):
    return Question("Is <this> right?", data=visit.notes)

@transition
def file(visit: Visit):
    return {"notes": ["filed"]}

graph = Graph(Visit, name="scribe")
graph.add_edge(START, draft)
graph.add_edge(draft, approve)
graph.add_edge(approve, file)
graph.add_edge(file, END)
scribe = graph.compile(checkpointer="sqlite:///visits.db", default_model="m")
"""


class Recorder(NotebookClient):
    """Keeps every display message that the kernel sent, also those that a later one replaced."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.displays: list[list[tuple[str, dict[str, Any]]]] = []

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self.displays[-1].append((msg["msg_type"], msg["content"]["data"]))
        return super().process_message(msg, cell, cell_index)

    def run(self, source: str) -> list[dict[str, Any]]:
        """Execute one more cell; the mimebundles (or streams) that it is left with."""
        cell = nbformat.v4.new_code_cell(source)
        self.nb.cells.append(cell)
        self.displays.append([])
        self.execute_cell(cell, len(self.nb.cells) - 1)
        return [dict(output.get("data") or {"text/plain": output.get("text", "")}) for output in cell.outputs]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    folder = tmp_path_factory.mktemp("notebook")
    with ScriptedModel() as model:
        model.on().reply("short")
        client = Recorder(nbformat.v4.new_notebook(), kernel_name="python3", timeout=100)
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, **model.env(), "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
        with client.setup_kernel(cwd=str(folder), env=env):
            client.run(DEFINE)
            yield client


def test_graphs_pictures_and_claims_show_themselves(notebook: Recorder) -> None:
    for source in ("graph", "graph.draw()", "graph.prove(approve, before=file)"):
        (shown,) = notebook.run(source)
        assert set(shown) == {"image/svg+xml", "image/png", "text/plain"}, source
        assert "approve" in shown["image/svg+xml"]
        assert "│" in shown["text/plain"]


def test_a_run_in_words_counts_its_calls() -> None:
    one, two = (Run("t", "r", "done", usage={"ask": Usage(calls=calls)}) for calls in (1, 2))
    assert (in_words(one), in_words(two)) == ("Run of thread 't': done, 1 call", "Run of thread 't': done, 2 calls")


def test_a_run_lives_in_its_cell_asks_there_and_goes_on_by_the_line_that_it_gives(notebook: Recorder) -> None:
    picture, question, result = notebook.run('await scribe.run({"text": "<b>hello</b>"}, thread_id="visit-42")')
    sent = notebook.displays[-1]
    pictures = [data for kind, data in sent if "image/svg+xml" in data]
    kinds = [kind for kind, data in sent if "image/svg+xml" in data]
    assert kinds[0] == "display_data"
    assert "update_display_data" in kinds
    assert "running" in pictures[0]["text/plain"], "it was there before the run had ended"
    assert set(picture) == {"image/svg+xml", "image/png", "text/plain"}
    assert "waits for an answer" in picture["image/svg+xml"]
    assert "Is &lt;this&gt; right?" in question["text/html"], "escaped"
    assert set(result) == {"text/plain"}, "its picture is above already"
    assert result["text/plain"].startswith("Run of thread 'visit-42': interrupted")

    (line,) = re.findall(r"<code>(.*)</code>", question["text/html"])
    assert html.unescape(line) == "run = await scribe.resume('visit-42', Approval(ok=True))"
    outputs = notebook.run(html.unescape(line))
    assert len(outputs) == 1, "a picture, and nothing is asked"
    assert "done · 1 call" in outputs[0]["image/svg+xml"]

    (later,) = notebook.run("run")
    assert set(later) == {"image/svg+xml", "image/png", "text/plain"}
    assert "done" in later["text/plain"]


def test_the_steps_of_a_thread_show_what_each_changed(notebook: Recorder) -> None:
    notebook.run('run = await scribe.run({"text": "a"}, thread_id="steps")')
    notebook.run('run = await scribe.resume("steps", Approval(ok=False))')
    (shown,) = notebook.run('await scribe.steps("steps")')
    assert shown["text/html"].count("<details>") >= 4
    assert "draft → approve" in html.unescape(shown["text/html"])
    assert "&quot;short&quot;" in shown["text/html"]
    assert '+ approval: {"ok": false}' in shown["text/plain"]
    (again,) = notebook.run("run.history")
    assert again == shown, "the same, as the run itself has it"


def test_sync_code_in_a_cell_has_its_picture_too(notebook: Recorder) -> None:
    outputs = notebook.run('run = scribe.run_sync({"text": "b"}, thread_id="sync")')
    assert "waits for an answer" in outputs[0]["image/svg+xml"]


def test_a_picture_that_cannot_be_drawn_breaks_no_run(notebook: Recorder) -> None:
    notebook.run("import sys; kept = sys.modules.pop('graphlay'); sys.modules['graphlay'] = None")
    outputs = notebook.run('run = await scribe.run({"text": "c"}, thread_id="undrawn")\nprint(run.status)')
    notebook.run("sys.modules['graphlay'] = kept")
    assert any("interrupted" in output["text/plain"] for output in outputs)


def test_outside_of_a_kernel_nothing_of_jupyter_is_imported_by_a_run() -> None:
    code = (
        "import sys, asyncio\n"
        "from typing import TypedDict\n"
        "from vertebra import *\n"
        "class S(TypedDict, total=False):\n    x: int\n"
        "g = Graph(S, name='g'); g.add_edge(START, transition(lambda s: {'x': 1})); g.add_edge('<lambda>', END)\n"
        "print(asyncio.run(g.compile().run({})).status)\n"
        "loaded = {'IPython', 'ipykernel', 'graphlay', 'resvg_py'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.stdout == "done\n", ran.stderr
