"""How the command behaves: quick help, errors in a line, signals, terminals, pipes, and secrets kept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, KEY, Shell, until

LIGHT = ("run", "agents:light", "--thread", "t")
RUN = ("run", "agents:graph", "--input", '{"text": "a b"}', "--thread", "t")
COMMANDS = (
    *("run", "resume", "recover", "cancel", "threads", "show", "graph check", "demo"),
    *("memory ls", "memory show", "memory export", "memory import"),
    *("memory facts", "memory forget", "memory receipts", "memory hold", "memory release"),
    *("memory holds", "memory expire"),
)
HEAVY = "langgraph|langchain_core|openai|httpx2?|networkx|pydantic|rich|sqlite3|psycopg|asyncio"


def test_help_is_quick_and_light(tmp_path: Path) -> None:
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        began = time.monotonic()
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert ran.returncode == 0
        assert time.monotonic() - began < 3
        loaded = re.findall(r"\| +([\w.]+)$", ran.stderr, re.M)
        assert "vertebra.cli.main" in loaded
        assert not [name for name in loaded if re.fullmatch(HEAVY, name.split(".")[0])]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, tmp_path: Path) -> None:
    ran = subprocess.run([COMMAND, *command.split(), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0
    assert f"vertebra {command}" in ran.stdout.split("\n", 3)[-1], "an example beyond the usage line"
    assert max(map(len, ran.stdout.splitlines())) <= 100


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-m", "vertebra.cli", "--version"], capture_output=True, text=True)
    assert ran.stdout == subprocess.run([COMMAND, "--version"], capture_output=True, text=True).stdout
    assert re.fullmatch(r"vertebra \d+\.\d+\.\d+\n", ran.stdout)


MISTAKES = {
    "no module": (2, ("run", "nothing:graph")),
    "no graph": (2, ("run", "agents")),
    "no such name": (2, ("run", "agents:grpah")),
    "no graph of ours": (2, ("run", "agents:number")),
    "a syntax error": (2, ("run", "broken:graph")),
    "a module that raises": (2, ("run", "raises:graph")),
    "an import within": (2, ("run", "lacking:graph")),
    "bad JSON": (2, ("run", "agents:graph", "--input", '{"text": ')),
    "no file": (2, ("run", "agents:graph", "--input", "@missing.json")),
    "wrong input": (1, ("run", "agents:graph", "--input", '{"txt": "a"}')),
    "no mapping": (1, ("run", "agents:graph", "--input", "[1]")),
    "a wrong graph": (1, ("run", "agents:wrong", "--input", '{"text": "a"}')),
    "bad URL": (5, ("run", "agents:graph", "--store", "mysql://x/y")),
    "no folder": (5, ("run", "agents:graph", "--input", '{"text": "a"}', "--store", "sqlite:///no/where.db")),
    "no database": (5, ("threads", "--store", "sqlite:///missing.db")),
    "no database to resume": (5, ("resume", "agents:graph", "t", "--store", "sqlite:///missing.db")),
    "no thread": (4, ("show", "nobody")),
    "no thread to resume": (4, ("resume", "agents:graph", "nobody")),
    "an update alone": (2, ("resume", "agents:graph", "t", "--update", "{}")),
    "memory": (2, ("threads", "--store", "memory://")),
}


@pytest.fixture
def mistaken(shell: Shell) -> Shell:
    (shell.folder / "broken.py").write_text("def graph(:\n")
    (shell.folder / "raises.py").write_text("x = 1\n\ngraph = 1 / (x - 1)\n")
    (shell.folder / "lacking.py").write_text("import not_installed_here\n")
    assert shell(*LIGHT).returncode == 3
    return shell


def test_every_mistake_is_told_in_a_line_with_a_remedy(mistaken: Shell) -> None:
    for what, (code, arguments) in MISTAKES.items():
        ran = mistaken(*arguments)
        assert ran.returncode == code, (what, ran.stdout, ran.stderr)
        assert ran.stdout == "", what
        assert ran.stderr.startswith("vertebra: "), what
        assert "To go on: " in ran.stderr, (what, ran.stderr)
        assert "Traceback" not in ran.stderr, what
        if what != "a wrong graph":
            assert ran.stderr.count("\n") == 1, (what, ran.stderr)
    assert not (mistaken.folder / "missing.db").exists(), "looking makes no database"


def test_a_mistake_is_json_where_json_was_asked_for(mistaken: Shell) -> None:
    for what in ("no module", "bad JSON", "wrong input", "a wrong graph", "no database", "no thread"):
        code, arguments = MISTAKES[what]
        error = mistaken.json(*arguments, code=code)["error"]
        assert {"code", "message", "remedy", "context"} == set(error), what
        assert error["remedy"], what


def test_a_mistake_is_placed(mistaken: Shell) -> None:
    def told(what: str) -> str:
        return mistaken(*MISTAKES[what][1]).stderr

    assert "graph" in told("no such name"), "the name that was meant"
    assert "broken.py" in told("a syntax error")
    assert "line 1" in told("a syntax error")
    assert "ZeroDivisionError" in told("a module that raises")
    assert "raises.py, line 3" in told("a module that raises")
    assert "not_installed_here" in told("an import within")


def test_unknown_options_are_refused(shell: Shell) -> None:
    for arguments in (
        ("frobnicate",),
        ("run",),
        ("run", "agents:graph", "--inptu", "{}"),
        ("threads", "--status", "x"),
    ):
        ran = shell(*arguments)
        assert ran.returncode == 2
        assert "usage: vertebra" in ran.stderr
    ran = shell("resume", "agents:graph", "t", "--answer", "{}", "--skip", "draft")
    assert ran.returncode == 2
    assert "not allowed with" in ran.stderr


def test_sigterm_drains_and_recover_finishes(shell: Shell) -> None:
    shell.model.on("Summarise").delay(1.0)
    process = shell.start(*RUN)
    until(lambda: len(shell.model.books) == 2)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 143, (stdout, stderr)
    assert "recover" in stderr
    assert "Traceback" not in stderr
    assert len(shell.model.books.paid()) == 2, "the superstep was finished, the next not begun"
    (thread,) = shell.json("threads")
    assert (thread["status"], thread["recoverable"]) == ("running", True)
    (run,) = shell.json("recover", "agents:graph", code=3)
    assert run["status"] == "interrupted"
    assert len(shell.model.books.paid()) == 3
    assert not shell.model.books.repeats()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_hangs_can_be_stopped(shell: Shell, number: signal.Signals, code: int) -> None:
    shell.model.on("Draft").hang()
    process = shell.start(*RUN)
    until(lambda: len(shell.model.books) == 3)
    process.send_signal(number)
    if number == signal.SIGTERM:
        time.sleep(0.5)
        assert process.poll() is None, "the first one waits for the superstep"
        process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == code, (stdout, stderr)
    assert "recover" in stderr
    assert "Traceback" not in stderr
    (run,) = shell.json("recover", "agents:graph", code=3)
    assert run["status"] == "interrupted"
    assert not shell.model.books.repeats()


def test_colour_is_for_terminals_alone(shell: Shell) -> None:
    code, asked = shell.on_terminal(*RUN)
    assert code == 3
    assert "\x1b[" in asked
    for arguments in (("threads",), ("show", "t"), ("graph", "check", "agents:wrong")):
        assert "\x1b[" not in shell(*arguments).stdout
        assert "\x1b[" in shell.on_terminal(*arguments)[1], arguments
    for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[" not in shell.on_terminal("threads", **more)[1]
        assert "\x1b[" not in shell.on_terminal(*LIGHT[:-1], f"with-{next(iter(more))}", **more)[1]
    assert "\x1b[" not in shell.on_terminal("threads", "--json")[1]


def test_progress_is_shown_on_a_terminal(shell: Shell) -> None:
    _, told = shell.on_terminal(*RUN)
    for node in ("cut", "summarise", "draft"):
        assert node in told.split("thread t")[0], "before the outcome"
    assert shell(*LIGHT[:-1], "quiet").stderr == ""
    loud = shell(*LIGHT[:-1], "loud", "--verbose")
    assert "count  done in" in loud.stderr
    assert "\x1b[" not in loud.stderr


def test_tables_fit_the_terminal(shell: Shell) -> None:
    name = "a-thread-with-a-name-that-goes-on-and-on-" * 2
    shell("run", "agents:graph", "--input", '{"text": "a"}', "--thread", name)
    for columns in (40, 90):
        for command in (("threads",), ("show", name)):
            _, told = shell.on_terminal(*command, columns=columns)
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told)
            assert max(len(line.rstrip("\r")) for line in plain.split("\n")) <= columns, plain
    assert name in shell("threads").stdout, "nothing is cut for a pipe"
    assert name in shell("show", name).stdout


def test_a_model_cannot_write_to_the_terminal(shell: Shell) -> None:
    shell.model.on("Summarise").reply("\x1b]0;owned\x07\x1b[2Jnote")
    shell.model.on("Draft").reply("\x1b[31mreport")
    shell(*RUN)
    for arguments in (("show", "t"), ("show", "t", "--full"), ("resume", "agents:graph", "t")):
        told = shell(*arguments).stdout
        assert "note" in told or "sent?" in told
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x9b]", told), arguments


def test_a_reader_that_goes_away_is_no_error(shell: Shell) -> None:
    shell("run", "agents:graph", "--input", '{"text": "%s"}' % ("a " * 60), "--thread", "t")
    ran = subprocess.run(
        f"'{COMMAND}' show t --full | head -n 1", shell=True, cwd=shell.folder, env=shell.env, capture_output=True
    )
    assert ran.stderr == b""
    assert ran.stdout.startswith(b"thread t")


def test_a_poor_encoding_is_no_error(shell: Shell) -> None:
    shell.model.on("Summarise").reply("naïve → “note”")
    asked = shell("run", "agents:graph", "--input", '{"text": "ä"}', "--thread", "ü", PYTHONIOENCODING="ascii")
    assert asked.returncode == 3, asked.stderr
    for arguments in (("threads",), ("show", "ü"), ("show", "ü", "--json"), ("show", "nobody→")):
        assert "Traceback" not in shell(*arguments, PYTHONIOENCODING="ascii").stderr


def test_the_key_is_nowhere(shell: Shell) -> None:
    shell.model.on("Draft").fail(401)
    told = [shell(*RUN, "--verbose"), shell("resume", "agents:graph", "t", "--json")]
    told += [shell("show", "t", "--full"), shell("show", "t", "--json"), shell("threads", "--json")]
    assert all(entry.authorized for entry in shell.model.books)
    for ran in told:
        assert KEY not in ran.stdout + ran.stderr
    files = [path for path in shell.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path for path in files if path.suffix == ".db"]
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_a_password_in_the_store_is_not_told(shell: Shell) -> None:
    ran = shell("threads", "--store", "postgresql://someone:hidden@127.0.0.1:1/x")
    assert ran.returncode == 5
    assert "hidden" not in ran.stdout + ran.stderr
    asked = shell(*LIGHT, VERTEBRA_STORE="sqlite:///vertebra.db")
    assert "Go on?" in asked.stdout
    assert "--store" not in asked.stdout, "what the environment says need not be said again"


def test_the_command_works_on_postgres(shell: Shell, postgres_url: str) -> None:
    shell.env["VERTEBRA_STORE"] = postgres_url
    asked = shell(*RUN)
    assert asked.returncode == 3
    assert postgres_url not in asked.stdout
    assert shell.json("resume", "agents:graph", "t", "--answer", '{"ok": true}')["status"] == "done"
    assert [item["thread"] for item in shell.json("threads")] == ["t"]
    assert "summarise" in shell("show", "t").stdout
    assert os.listdir(shell.folder).count("vertebra.db") == 0
