"""The companion of ``examples``: really killed in the middle of a turn, it goes on with nothing doubled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from vertebra import open_memory
from vertebra.memory import Message
from vertebra.testing import ScriptedModel

COMPANION = Path(__file__).parents[2] / "examples" / "companion" / "companion.py"


def start(folder: Path, model: ScriptedModel) -> subprocess.Popen[str]:
    environment = {**os.environ, **model.env(), "PYTHONPATH": str(COMPANION.parents[2])}
    return subprocess.Popen(
        [sys.executable, str(COMPANION), "ann"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=30)  # its pipes are closed then
    assert process.returncode == -9


def conversation(folder: Path) -> list[Message]:
    with open_memory(f"sqlite:///{folder}/companion-memory.db") as memory:
        return memory.conversation("ann", subject="ann").messages_sync()


def test_killed_while_the_model_thinks_and_started_again(tmp_path: Path) -> None:
    asked = threading.Event()
    with ScriptedModel() as model:
        model.on(lambda request: asked.set() is not None)  # matches nothing: it only hears that it was asked
        model.on("knee").hang().reply("Poor knee.")
        model.on("What hurts").reply("Your knee.")
        first = start(tmp_path, model)
        say(first, "My knee hurts.")
        assert asked.wait(60)
        killed(first)
        assert conversation(tmp_path) == []

        second = start(tmp_path, model)
        told, _ = second.communicate("What hurts?\n", timeout=60)
        assert second.returncode == 0
    assert "(where we were) Poor knee." in told
    assert [(m.role, m.text) for m in conversation(tmp_path)[1:]] == [
        ("user", "My knee hurts."),
        ("assistant", "Poor knee."),
        ("user", "What hurts?"),
        ("assistant", "Your knee." if "Your knee." in told else "Poor knee."),
    ]


def test_killed_as_it_speaks_nothing_is_said_or_paid_twice(tmp_path: Path) -> None:
    with ScriptedModel() as model:
        model.on("knee").reply("Poor knee.")
        first = start(tmp_path, model)
        say(first, "My knee hurts.")
        assert first.stdout is not None
        heard = ""
        while "Poor" not in heard:
            letter = first.stdout.read(1)
            assert letter, "it ended without an answer"
            heard += letter
        killed(first)
        told, _ = start(tmp_path, model).communicate("", timeout=60)
        assert len(model.books) <= 2, "an answer that was on record was paid for once"
    said = [m.text for m in conversation(tmp_path)]
    assert said[1:] == ["My knee hurts.", "Poor knee."]
    assert told.count("Poor knee.") <= 1
