"""Each subcommand as a process: what it prints, in words and as JSON, and its exit code."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.cli.conftest import COMMAND, Shell, kill, until

LIGHT = ("run", "agents:light", "--thread", "t")
RUN = ("run", "agents:graph", "--input", '{"text": "a b"}', "--thread", "t")


def test_a_run_asks_with_the_command_that_answers(shell: Shell) -> None:
    asked = shell(*RUN)
    assert asked.returncode == 3
    assert asked.stderr == ""
    assert "interrupted" in asked.stdout
    assert "Shall it be sent?" in asked.stdout
    (line,) = re.findall(r"vertebra (resume .+)$", asked.stdout, re.M)
    answer = line.replace("JSON", "'{\"ok\": true}'")
    done = subprocess.run(
        f"'{COMMAND}' {answer}", shell=True, cwd=shell.folder, env=shell.env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert '"ok": true' in done.stdout
    assert len(shell.model.books.paid()) == 3


def test_the_command_that_answers_names_store_and_model(shell: Shell) -> None:
    asked = shell(*LIGHT, "--store", "sqlite:///other name.db", "--model", "model-2")
    (line,) = re.findall(r"vertebra resume .+$", asked.stdout, re.M)
    assert "--store 'sqlite:///other name.db'" in line
    assert "--model model-2" in line


def test_run_and_resume_as_json(shell: Shell) -> None:
    (shell.folder / "visit.json").write_text('{"text": "a b"}')
    asked = shell.json("run", "agents:graph", "--input", "@visit.json", "--thread", "t", "--principal", "ann", code=3)
    assert (asked["thread"], asked["status"], asked["next"]) == ("t", "interrupted", ["approve"])
    (question,) = asked["interrupts"]
    assert question["text"] == "Shall it be sent?"
    assert question["answer_schema"]["properties"]["ok"]["type"] == "boolean"
    assert asked["usage"]["summarise"]["calls"] == 2
    answer = ("resume", "agents:graph", "t", "--interrupt", question["id"], "--answer")
    done = shell.json(*answer, '{"ok": true}')
    assert (done["status"], done["output"]["approval"], done["error"]) == ("done", {"ok": True}, None)
    assert done["calls"] == 3
    assert shell.json(*answer, '{"ok": true}')["status"] == "done"
    assert shell.json(*answer, '{"ok": false}', code=4)["error"]["code"] == "answer_mismatch"
    assert shell.json("show", "t")["principal"] == "ann"


def test_input_may_come_from_a_pipe(shell: Shell) -> None:
    asked = shell("run", "agents:graph", "--input", "@-", "--json", stdin='{"text": "a"}')
    assert asked.returncode == 3, asked.stderr
    assert json.loads(asked.stdout)["usage"]["summarise"]["calls"] == 1
    thread = json.loads(asked.stdout)["thread"]
    rejected = shell("resume", "agents:graph", thread, "--answer", "@-", "--json", stdin='{"ok": "perhaps"}')
    assert rejected.returncode == 4
    assert json.loads(rejected.stdout)["error"]["code"] == "answer_rejected"


def test_a_failed_run_says_why_and_is_resumed_without_paying_twice(shell: Shell) -> None:
    shell.model.on("Draft").fail(400)
    failed = shell(*RUN)
    assert failed.returncode == 1
    assert "failed" in failed.stdout
    assert failed.stderr.startswith("vertebra: ")
    assert "To go on:" in failed.stderr
    assert "Traceback" not in failed.stderr
    shown = shell("show", "t").stdout
    assert "no answer: status 400" in shown
    assert "To go on:" in shown
    status = shell.json("resume", "agents:graph", "t", code=3)["status"]
    assert status == "interrupted"
    assert len(shell.model.books.paid()) == 3
    assert not shell.model.books.repeats()


def test_a_stuck_node_is_skipped_or_asked_anew(shell: Shell) -> None:
    shell.model.on("Draft").fail(400).fail(400)
    assert shell(*RUN).returncode == 1
    skip = ("resume", "agents:graph", "t", "--skip", "draft", "--update", '{"report": "by hand"}')
    assert shell.json(*skip, "--principal", "bob", code=3)["output"]["report"] == "by hand"
    shown = shell.json("show", "t")
    assert [(item["kind"], item["principal"]) for item in shown["interventions"]] == [("skip", "bob")]
    assert "bob did by hand: skip draft" in shell("show", "t").stdout
    assert shell("run", "agents:graph", "--input", '{"text": "c"}', "--thread", "u").returncode == 1
    assert shell.json("resume", "agents:graph", "u", "--fresh", "draft", code=3)["status"] == "interrupted"


def test_recover_after_a_kill(shell: Shell) -> None:
    shell.model.on("Draft").hang()
    process = shell.start(*RUN)
    until(lambda: len(shell.model.books) == 3)
    kill(process)
    (thread,) = shell.json("threads")
    assert (thread["status"], thread["recoverable"]) == ("running", True)
    assert "recover" in shell("threads").stdout
    (run,) = shell.json("recover", "agents:graph", code=3)
    assert (run["thread"], run["status"]) == ("t", "interrupted")
    assert len(shell.model.books.paid()) == 3
    assert not shell.model.books.repeats()
    assert shell.json("recover", "agents:graph") == []
    nothing = shell("recover", "agents:graph")
    assert (nothing.returncode, nothing.stdout) == (0, "Nothing to recover.\n")
    assert "died" in shell("show", "t").stdout


def test_recover_takes_one_thread(shell: Shell) -> None:
    shell.model.on("Draft").hang(times=2)
    for name in ("one", "two"):
        process = shell.start("run", "agents:graph", "--input", json.dumps({"text": name}), "--thread", name)
        until(lambda name=name: len(shell.model.books) == (2 if name == "one" else 4))
        kill(process)
    runs = shell.json("recover", "agents:graph", "--thread", "two", code=3)
    assert [run["thread"] for run in runs] == ["two"]
    left = {item["thread"]: item["status"] for item in shell.json("threads")}
    assert left == {"one": "running", "two": "interrupted"}


def test_a_graph_that_has_changed_is_told_with_the_difference(shell: Shell) -> None:
    shell.model.on("Draft").hang()
    process = shell.start(*RUN)
    until(lambda: len(shell.model.books) == 3)
    kill(process)
    agents = shell.folder / "agents.py"
    agents.write_text(agents.read_text().replace("@effect\ndef send", "@transition\ndef send"))
    for command in (("recover", "agents:graph"), ("resume", "agents:graph", "t")):
        ran = shell(*command)
        assert ran.returncode == 4, (ran.stdout, ran.stderr)
        assert "send.node.kind: effect -> transition" in ran.stderr
    (run,) = shell.json("recover", "agents:graph", code=4)
    assert (run["status"], run["error"]["code"]) == ("running", "graph_changed")


def test_a_busy_thread_is_waited_for(shell: Shell) -> None:
    shell.model.on("Draft").delay(12.0)  # longer than a process takes to start on a busy machine
    process = shell.start(*RUN)
    until(lambda: len(shell.model.books) == 3)
    busy = shell(*RUN)
    assert busy.returncode == 4
    assert "is being written by process" in busy.stderr
    waited = shell(*RUN, "--wait", "60")
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert waited.returncode == 4
    assert "waits for an answer" in waited.stderr


def test_cancel(shell: Shell) -> None:
    shell(*LIGHT)
    assert shell.json("cancel", "t") == {"thread": "t", "cancelled": True, "status": "cancelled"}
    late = shell("resume", "agents:light", "t", "--answer", "true")
    assert late.returncode == 4
    assert "cancelled" in late.stderr
    again = shell("cancel", "t")
    assert (again.returncode, again.stdout) == (0, "t: cancelled\n")
    assert shell("cancel", "nobody").returncode == 4


def test_cancel_leaves_what_has_ended(shell: Shell) -> None:
    shell(*LIGHT)
    shell("resume", "agents:light", "t", "--answer", "true")
    late = shell.json("cancel", "t", code=4)
    assert late == {"thread": "t", "cancelled": False, "status": "done"}
    assert shell.json("threads")[0]["status"] == "done"


def test_cancel_stops_another_process(shell: Shell) -> None:
    shell.model.on("Draft").hang()
    process = shell.start(*RUN)
    until(lambda: len(shell.model.books) == 3)
    assert shell.json("cancel", "t") == {"thread": "t", "cancelled": False, "status": "running"}
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 4, stderr
    assert "cancelled" in stdout


def test_threads(shell: Shell) -> None:
    for name in ("one", "two", "three"):
        shell("run", "agents:light", "--thread", name)
    shell("resume", "agents:light", "two", "--answer", "true")
    listed = shell.json("threads")
    assert [item["thread"] for item in listed] == ["two", "three", "one"]
    assert [item["thread"] for item in shell.json("threads", "--status", "done")] == ["two"]
    assert [item["thread"] for item in shell.json("threads", "--limit", "2")] == ["two", "three"]
    assert shell.json("threads", "--graph", "another") == []
    text = shell("threads").stdout.splitlines()
    assert text[0].split() == ["THREAD", "STATUS", "GRAPH", "UPDATED", "NOTE"]
    assert text[1].split()[:4] == ["two", "done", "light", "2"]
    columns = {line.index("light") for line in text[1:4]}
    assert len(columns) == 1
    assert text[-1] == "3 threads."


def test_show_tells_every_call(shell: Shell) -> None:
    shell.model.on("Summarise a").reply("Note of a.")
    shell.model.on("Draft").fail(400)
    shell(*RUN)
    shell("resume", "agents:graph", "t")
    text = shell("show", "t").stdout
    assert re.search(r"^thread t: interrupted", text)
    assert re.search(r"summarise .* model-1 .* provider", text)
    assert "Summarise a" in text
    assert "Note of a." in text
    assert "chat/completions" in text
    assert "Shall it be sent?" in text
    assert "3 calls" in text
    shown = shell.json("show", "t")
    first = next(call for call in shown["calls"] if "Summarise a" in call["request"])
    assert (first["node"], first["model"], first["status"], first["source"]) == (
        *("summarise", "model-1", "done"),
        "provider",
    )
    assert "Note of a." in first["answer"]
    assert first["input_tokens"] > 0 < first["output_tokens"]
    assert [question["node"] for question in shown["interrupts"]] == ["approve"]
    assert {visit["node"] for visit in shown["visits"]} >= {"cut", "summarise", "draft"}
    full = shell("show", "t", "--full").stdout
    assert '"messages"' in full
    assert '"choices"' in full


def test_show_tells_what_came_from_the_journal(shell: Shell) -> None:
    shell.model.on("Draft").hang()
    process = shell.start("run", "agents:graph", "--input", '{"text": "a"}', "--thread", "t")
    until(lambda: len(shell.model.books) == 2)
    kill(process)
    shell("recover", "agents:graph")
    (draft,) = [call for call in shell.json("show", "t")["calls"] if call["node"] == "draft"]
    assert (draft["sends"], draft["lost"]) == (2, 1)
    assert "1 lost" in shell("show", "t").stdout


def test_graph_check(shell: Shell) -> None:
    good = shell("graph", "check", "agents:graph")
    assert (good.returncode, good.stderr) == (0, "")
    assert "scribe" in good.stdout
    wrong = shell("graph", "check", "agents:wrong")
    assert wrong.returncode == 1
    assert "unknown_node" in wrong.stdout
    assert "unreachable_node" in wrong.stdout
    assert "Remedy" in wrong.stdout
    assert shell.json("graph", "check", "agents:graph") == []
    findings = shell.json("graph", "check", "agents:wrong", code=1)
    assert {"code", "severity", "place", "message", "remedy", "waived"} == set(findings[0])
    assert not list(shell.folder.glob("*.db")), "nothing is opened"


DOUBTFUL = """
from pydantic import BaseModel

from vertebra import END, START, Context, Graph, effect, human, llm


class Letter(BaseModel):
    text: str
    reply: str = ""
    approved: bool | None = None


@llm(timeout_s=60)
async def draft(letter: Letter, ctx: Context):
    return {"reply": letter.text}


@human(answer=bool)
def approve(letter: Letter):
    return letter.reply


@effect
def send(letter: Letter):
    return {"text": letter.reply}


def line(*nodes, name, **waive):
    graph = Graph(Letter, name=name).add_node(send, **waive)
    for before, after in zip((START, *nodes), (*nodes, END)):
        graph.add_edge(before, after)
    return graph


doubtful = line(draft, send, name="doubtful")
accepted = line(draft, send, name="accepted", waive={"model_to_effect": "it goes to a folder of drafts"})
kept = line(draft, approve, send, name="kept").require(approve, before=send)
broken = line(draft, send, approve, name="broken", waive={"unused": "there is no such code"})
broken.require(approve, before=send)
"""


def test_graph_check_tells_warnings_and_waivers_apart(shell: Shell) -> None:
    (shell.folder / "doubts.py").write_text(DOUBTFUL)
    check = ("graph", "check")
    lax, strict = shell(*check, "doubts:doubtful"), shell(*check, "doubts:doubtful", "--strict")
    assert (lax.returncode, strict.returncode) == (0, 1)
    assert lax.stdout == strict.stdout
    assert lax.stdout.startswith("warning model_to_effect at send:")
    assert lax.stdout.endswith("graph doubtful 1: 1 finding.\n")

    waived = shell(*check, "doubts:accepted", "--strict")
    assert waived.returncode == 0
    assert waived.stdout.startswith("waived model_to_effect at send:")
    assert "Reason: it goes to a folder of drafts" in waived.stdout
    assert waived.stdout.endswith("graph accepted 1: 0 findings, 1 waived.\n")
    (finding,) = shell.json(*check, "doubts:accepted", "--strict")
    assert (finding["code"], finding["waived"]) == ("model_to_effect", "it goes to a folder of drafts")
    (standing,) = shell.json(*check, "doubts:doubtful", "--strict", code=1)
    assert (standing["severity"], standing["waived"]) == ("warning", None)

    assert shell(*check, "doubts:kept", "--strict").returncode == 0
    codes = {each["code"] for each in shell.json(*check, "doubts:broken", code=1)}
    assert codes >= {"claim_broken", "unused_waiver"}


def test_graph_prove(shell: Shell) -> None:
    where = ("graph", "prove", "agents:graph")
    proved = shell(*where, "--node", "approve", "--before", "send")
    assert (proved.returncode, proved.stdout) == (0, "proved: approve has run before any visit of send.\n")
    for claim in (("--never", "draft", "--after", "send"), ("--at-most", "draft,1"), ("--eventually", "END")):
        assert shell.json(*where, *claim)["holds"] is True
    broken = shell.json(*where, "--node", "summarise", "--between", "cut,END", code=1)
    assert broken["counterexample"] == ["START", "cut", "draft", "approve", "send", "END"]
    for wrong in ((), ("--between", "cut"), ("--at-most", "cut,x"), ("--eventually", "nowhere")):
        assert shell(*where, *wrong).returncode == 2


def test_graph_bounds(shell: Shell) -> None:
    shown = shell("graph", "bounds", "agents:graph")
    assert shown.returncode == 0
    assert "infinite: fan_out(cut => summarise): the field 'pieces' has no max_length." in shown.stdout
    found = shell.json("graph", "bounds", "agents:graph")
    assert (found["visits"]["draft"], found["calls"]["draft"], found["total_calls"]) == (1, 2, None)
    assert found["typical"] is None


def test_graph_bounds_with_what_past_runs_came_to(shell: Shell) -> None:
    past = ("graph", "bounds", "agents:graph", "--past", "sqlite:///vertebra.db")
    assert shell(*past).returncode == 5, "there is no such database, and none is made"
    assert not list(shell.folder.glob("*.db"))
    shell(*RUN)
    shown = shell(*past)
    assert (shown.returncode, shown.stdout.splitlines()[-1]) == (0, "no past run is on record.")
    assert shell("resume", "agents:graph", "t", "--answer", '{"ok": true}').returncode == 0
    typical = shell.json(*past)["typical"]
    assert typical["runs"] == 1
    assert typical["visits"]["summarise"] == {"median": 2, "p95": 2, "most": 2}
    assert typical["total_calls"]["median"] == 3
    assert typical["tokens"]["send"]["most"] == 0 < typical["total_tokens"]["median"]
    assert shell(*past).stdout.splitlines()[-1] == "median and p95 of 1 past run."


def test_an_adopted_graph_has_no_checks_but_runs(shell: Shell) -> None:
    (shell.folder / "old.py").write_text(
        "from langgraph.graph import END, START, MessagesState, StateGraph\n"
        "from vertebra import Graph\n"
        "builder = StateGraph(MessagesState)\n"
        'builder.add_node("say", lambda state: {"messages": "hello"})\n'
        'builder.add_edge(START, "say")\n'
        'builder.add_edge("say", END)\n'
        'graph = Graph.from_langgraph(builder, name="old")\n'
        "app = graph.compile()\n"
    )
    refused = shell("graph", "check", "old:graph")
    assert refused.returncode == 2
    assert "LangGraph" in refused.stderr
    done = shell.json("run", "old:graph", "--input", '{"messages": "hi"}')
    assert [message["content"] for message in done["output"]["messages"]] == ["hi", "hello"]
    app = shell("run", "old:app")
    assert app.returncode == 2
    assert "not its app" in app.stderr


def test_the_store_and_the_model_may_come_from_the_environment(shell: Shell) -> None:
    asked = shell(*RUN, VERTEBRA_STORE="sqlite:///elsewhere.db", VERTEBRA_MODEL="model-9")
    assert asked.returncode == 3
    assert (shell.folder / "elsewhere.db").exists()
    assert not (shell.folder / "vertebra.db").exists()
    assert {entry.model for entry in shell.model.books} == {"model-9"}
    assert "t " in shell("threads", VERTEBRA_STORE="sqlite:///elsewhere.db").stdout


def test_states_that_json_does_not_know_are_printed_all_the_same(shell: Shell) -> None:
    (shell.folder / "odd.py").write_text(
        "from datetime import datetime, UTC\n"
        "from pydantic import BaseModel\n"
        "from vertebra import END, START, Graph, transition\n"
        "class State(BaseModel):\n"
        "    raw: bytes = b''\n"
        "    ratio: float = 0.0\n"
        "    at: datetime | None = None\n"
        "    kinds: set[str] = set()\n"
        "@transition\n"
        "def fill(state: State) -> dict:\n"
        "    at = datetime(2026, 1, 1, tzinfo=UTC)\n"
        "    return {'raw': b'\\xff\\x00', 'ratio': float('nan'), 'at': at, 'kinds': {'a'}}\n"
        "graph = Graph(State, name='odd')\n"
        "graph.add_edge(START, fill)\n"
        "graph.add_edge(fill, END)\n"
    )
    ran = shell("run", "odd:graph", "--json")
    assert ran.returncode == 0, ran.stderr
    output = json.loads(ran.stdout, parse_constant=pytest.fail)["output"]
    assert (output["ratio"], output["kinds"]) == (None, ["a"])
    assert output["at"].startswith("2026-01-01")
    assert shell("run", "odd:graph").returncode == 0
