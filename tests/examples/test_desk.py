"""The service desk of ``examples``, as its user has it: asked, killed while it waits for approval, started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from vertebra import open_memory

DESK = Path(__file__).parents[2] / "examples" / "agent" / "desk.py"


def start(folder: Path) -> subprocess.Popen[str]:
    """With no model but its own script."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "VERTEBRA_"))}
    return subprocess.Popen(
        [sys.executable, str(DESK), "ann", "--thread", "ann-1"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(DESK.parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_while_it_waits_for_approval_it_asks_again_and_pays_once(tmp_path: Path) -> None:
    first = start(tmp_path)
    assert first.stdin is not None
    assert first.stdout is not None
    first.stdin.write("Where is my order 17?\nI want my money back for order 17.\n")
    first.stdin.flush()
    heard = ""
    while "[y/n]" not in heard:
        letter = first.stdout.read(1)
        assert letter, heard
        heard += letter
    first.kill()
    first.communicate(timeout=30)  # its pipes are closed then
    assert first.returncode == -9
    assert "desk: Your order is a lamp that arrived broken." in heard
    assert not (tmp_path / "paid.txt").exists()

    told, _ = start(tmp_path).communicate("y\nI want even more back for order 17.\nn\n", timeout=60)
    asked, answer, refused = told.partition("desk: The money is on its way to you.")
    assert asked == "(colleague) Call refund(order='17', amount_eur=40.0)? [y/n] "
    assert answer
    assert "my colleague has not approved it" in refused
    assert len((tmp_path / "paid.txt").read_text().splitlines()) == 1
    with open_memory(f"sqlite:///{tmp_path}/desk-memory.db") as memory:
        said = memory.conversation("ann", subject="ann").messages_sync()
    assert [message.role for message in said] == ["user", "assistant", "tool", "assistant"] * 3
