"""The command as its user runs it: a process, in a folder with an agent in it, with a provider that answers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.forking import WARM, run_forked
from tests.servers.preloaded import Preloaded
from vertebra.cli.main import main
from vertebra.testing import ScriptedModel

Said = Callable[..., str]

COMMAND = str(Path(sys.executable).parent / "vertebra")
KEY = "sk-secret-0a1b2c3d4e5f"

AGENTS = """
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Question, Retry, effect, human, llm, transition


class Approval(BaseModel):
    ok: bool


class Visit(BaseModel):
    text: str
    pieces: list[str] = []
    notes: Append[str] = []
    report: str = ""
    approval: Approval | None = None
    sent: str | None = None


@transition
def cut(visit: Visit) -> dict:
    return {"pieces": visit.text.split()}


@llm(task="summarise", retry=Retry(attempts=2, wait_initial_s=0.01, jitter_s=0), timeout_s=60)
async def summarise(piece: str, ctx: Context) -> dict:
    reply = await ctx.client.chat.completions.create(
        model=ctx.model, messages=[{"role": "user", "content": f"Summarise {piece}"}]
    )
    return {"notes": [reply.choices[0].message.content]}


@llm(task="draft", retry=Retry(attempts=2, wait_initial_s=0.01, jitter_s=0), timeout_s=60)
async def draft(visit: Visit, ctx: Context) -> dict:
    text = ""
    stream = await ctx.client.chat.completions.create(
        model=ctx.model, stream=True, messages=[{"role": "user", "content": "Draft of " + "; ".join(visit.notes)}]
    )
    async for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    return {"report": text}


@human(answer=Approval)
def approve(visit: Visit) -> Question:
    return Question("Shall it be sent?", data={"report": visit.report})


@effect
def send(visit: Visit, ctx: Context) -> dict:
    return {"sent": ctx.idempotency_key}


graph = Graph(Visit, name="scribe", version="1")
graph.add_edge(START, cut)
graph.fan_out(cut, summarise, over="pieces")
graph.add_edge(summarise, draft)
graph.add_edge(draft, approve)
graph.add_edge(approve, send)
graph.add_edge(send, END)

wrong = Graph(Visit, name="wrong")
wrong.add_edge(START, cut)
wrong.add_edge(cut, "nowhere")
wrong.add_node(send)



class Light(BaseModel):
    n: int = 0
    ok: bool | None = None


@transition
def count(state: Light) -> dict:
    return {"n": state.n + 1}


@human(answer=bool)
def confirm(state: Light) -> str:
    return "Go on?"


light = Graph(Light, name="light", version="2")
light.add_edge(START, count)
light.add_edge(count, confirm)
light.add_edge(confirm, END)

number = 7
"""


@dataclass
class Shell:
    """A folder and an environment in which ``vertebra`` is run."""

    folder: Path
    env: dict[str, str]
    model: ScriptedModel
    parent: Preloaded

    def __call__(self, *arguments: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        settings = {**self.env, **env}
        if stdin is None:
            return run_forked(self.parent, arguments, cwd=self.folder, env=settings)
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=settings,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run the command with ``--json``; what it printed, all of it JSON."""
        ran = self(*arguments, "--json")
        assert ran.returncode == code, (ran.stdout, ran.stderr)
        assert ran.stderr == ""
        return json.loads(ran.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and leave it running."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background was started with SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def on_terminal(self, *arguments: str, columns: int = 80, typed: str = "", **env: str) -> tuple[int, str]:
        """Run the command on a terminal of so many columns, with what is typed at it: exit code and all that it got."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        settings = {**self.env, "TERM": "xterm-256color", **env}
        process = subprocess.Popen(
            [COMMAND, *arguments], cwd=self.folder, env=settings, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        told = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            told += piece
        os.close(ours)
        return process.wait(timeout=60), told.decode()


@pytest.fixture(scope="session")
def preloaded_command() -> Iterator[Preloaded]:
    """Whence the command is forked, one for each worker."""
    with Preloaded(WARM) as parent:
        yield parent


@pytest.fixture
def shell(tmp_path: Path, preloaded_command: Preloaded) -> Iterator[Shell]:
    (tmp_path / "agents.py").write_text(AGENTS)
    with ScriptedModel() as model:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("VERTEBRA_", "OPENAI_")) and k != "NO_COLOR"}
        for name in ("COLUMNS", "LINES"):  # they come before what the terminal itself says
            env.pop(name, None)
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # it doubles the time of a process that does little
        env |= {**model.env(), "OPENAI_API_KEY": KEY, "VERTEBRA_MODEL": "model-1", "PYTHONWARNINGS": "error"}
        yield Shell(tmp_path, env, model, preloaded_command)


def until(condition: Callable[[], Any], within_s: float = 20.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    """As a power cut would: nothing is cleaned up."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def said(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Run the command in the folder of the agents: what it printed."""
    monkeypatch.chdir(shell.folder)
    monkeypatch.syspath_prepend(str(shell.folder))
    monkeypatch.delitem(sys.modules, "agents", raising=False)
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "VERTEBRA_MODEL"):
        monkeypatch.setenv(name, shell.env[name])

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(arguments) == code, capsys.readouterr()
        found = capsys.readouterr()
        return found.out if code == 0 else found.err or found.out

    return run
