"""``vertebra memory`` facts, forget, receipts, hold, release, holds and expire, as a process, and at a terminal."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Shell
from vertebra import open_memory
from vertebra.memory import Source

FORGET = ("memory", "forget", "ann", "--reason", "letter", "--by", "dpo")


@pytest.fixture
def kept(shell: Shell) -> Shell:
    with open_memory(f"sqlite:///{shell.folder}/memory.db") as memory:
        memory.conversation("c", subject="ann").append_sync({"role": "user", "content": "secret"})
        facts = memory.facts("ann")
        facts.learn_sync("city", "Kyiv", valid_from=-math.inf, valid_until=1_600_000_000)
        facts.learn_sync(
            "takes \x1b[31m", ["lisinopril"], source=Source("c", 1), confidence=0.5, valid_from=1_600_000_000
        )
        facts.retract_sync("smokes")
    return shell


def test_facts(kept: Shell) -> None:
    listed = kept("memory", "facts", "ann").stdout
    assert "lisinopril" in listed
    assert "c/1" in listed
    assert "\x1b" not in listed
    assert listed.endswith("1 fact.\n")
    (then,) = kept.json("memory", "facts", "ann", "--as-of", "2020-09-13T12:26:39")
    assert (then["predicate"], then["value"], then["valid_from"]) == ("city", "Kyiv", None)
    assert kept.json("memory", "facts", "ann", "--known-at", "2020-01-01") == []
    history = kept.json("memory", "facts", "ann", "--history")
    assert [fact["retracted"] for fact in history] == [False, False, True]
    assert kept("memory", "facts", "ann", "--history", "--predicate", "smokes").stdout.count("(retracted)") == 1
    assert kept.json("memory", "facts", "ann", "--tenant", "other") == []
    assert kept("memory", "facts", "ann", "--as-of", "yesterday").returncode == 2


def test_forget_needs_a_yes_and_leaves_a_receipt(kept: Shell) -> None:
    refused = kept(*FORGET)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert kept.json("memory", "receipts") == []
    done = kept(*FORGET, "--yes")
    assert done.returncode == 0
    (receipt,) = kept.json("memory", "receipts", "--subject", "ann")
    assert done.stdout == f"forgotten: 1 entry, 3 facts, 1 message; receipt {receipt['id']}.\n"
    assert receipt["intact"]
    assert kept.json(*FORGET, "--yes")["id"] == receipt["id"]
    assert "[forgotten]" in kept("memory", "show", "c").stdout
    assert "letter" in kept("memory", "receipts").stdout
    assert b"secret" not in (Path(kept.folder) / "memory.db").read_bytes()


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("y\n", 2), ("\n", 2)])
def test_at_a_terminal_it_asks(kept: Shell, answer: str, code: int) -> None:
    ended, shown = kept.on_terminal(*FORGET, typed=answer)
    assert ended == code
    assert "1 conversation, 1 message, 3 facts" in shown
    assert bool(kept.json("memory", "receipts")) == (code == 0)


def test_a_hold_refuses_and_is_released(kept: Shell) -> None:
    hold = kept.json("memory", "hold", "ann", "--reason", "case", "--by", "law")["id"]
    refused = kept(*FORGET, "--yes")
    assert refused.returncode == 4
    assert hold in refused.stderr
    assert hold in kept("memory", "holds").stdout
    assert kept("memory", "release", hold, "--by", "law").stdout == f"{hold}: released.\n"
    assert kept.json("memory", "holds") == []
    assert [found["released_by"] for found in kept.json("memory", "holds", "--all")] == ["law"]
    assert kept("memory", "release", "never", "--by", "law").returncode == 4
    assert kept(*FORGET, "--yes").returncode == 0


def test_expire(kept: Shell) -> None:
    assert kept("memory", "expire").returncode == 2
    assert kept.json("memory", "expire", "--yes") == {"conversations": 0, "messages": 0, "held": 0, "items": 0}
    assert kept("memory", "expire", "--default", "0h", "--yes").stdout == "1 conversation, 1 message deleted.\n"


def test_all_of_it_is_exported_and_imported(kept: Shell) -> None:
    kept.json("memory", "hold", "bob", "--reason", "case", "--by", "law")
    told = kept("memory", "export", "--out", "all.jsonl").stdout
    assert told == "1 conversation, 1 message, 3 facts, 1 hold written to all.jsonl.\n"
    told = kept("memory", "import", "all.jsonl", "--tenant", "t").stdout
    assert told == "1 conversation, 1 message, 3 facts, 1 hold imported.\n"


def test_who_is_to_be_forgotten_and_why_must_be_said(tmp_path: Path) -> None:
    for arguments in (["ann"], ["ann", "--reason", "r"], ["--reason", "r", "--by", "b"]):
        ran = subprocess.run([COMMAND, "memory", "forget", *arguments], cwd=tmp_path, capture_output=True)
        assert ran.returncode == 2
