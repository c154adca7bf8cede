"""``vertebra prune``, in this process, on threads that the command itself has run."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Said
from vertebra.cli.pruning import pruned_text
from vertebra.types import Pruned


def data(said: Said, *arguments: str, code: int = 0) -> Any:
    return json.loads(said(*arguments, "--json", code=code))


def threads(said: Said) -> set[str]:
    return {thread["thread"] for thread in data(said, "threads")}


def test_ended_threads_go_and_their_room_with_them(said: Said) -> None:
    for thread in ("one", "two"):
        said("run", "agents:light", "--thread", thread, code=3)
    said("resume", "agents:light", "one", "--answer", "true")
    planned = data(said, "prune", "--older-than", "0d", "--dry-run")
    assert (planned["threads"], planned["dry_run"], threads(said)) == (1, True, {"one", "two"})
    assert said("prune", "--older-than", "1d") == (
        "Removed 0 threads.\nThe database took {0} bytes and takes {0}: 0 freed.\n".format(
            f"{data(said, 'prune', '--older-than', '1d')['bytes_after']:,}"
        )
    )
    pruned = data(said, "prune", "--older-than", "0d")
    assert pruned == {
        **planned,
        "dry_run": False,
        "bytes_after": pruned["bytes_after"],
        "bytes_before": pruned["bytes_before"],
    }
    assert pruned["bytes_after"] < pruned["bytes_before"]
    assert threads(said) == {"two"}


def test_answers_go_and_show_says_so(said: Said) -> None:
    said("run", "agents:graph", "--input", '{"text": "a b"}', "--thread", "t", code=3)
    said("resume", "agents:graph", "t", "--answer", '{"ok": true}')
    assert said("prune", "--answers", "--keep", "1", "--graph", "other").startswith("Removed 0 threads.")
    assert (
        said("prune", "--answers", "--keep", "1", "--dry-run")
        == "Would remove 6 checkpoints and 4 answers of 1 thread.\n"
    )
    assert said("prune", "--answers", "--keep", "1").startswith("Removed 6 checkpoints and 4 answers of 1 thread.\n")
    shown = said("show", "t")
    assert "pruned: 6 checkpoints and 4 answers let go" in shown
    assert shown.count("what was asked and answered was let go") == 4
    assert "Summarise" not in shown
    calls = data(said, "show", "t")["calls"]
    assert {(call["pruned"], call["request"], call["answer"]) for call in calls} == {(True, None, None)}
    assert all(call["input_tokens"] for call in calls if call["node"] == "summarise")
    verified = said("verify", "agents:graph", "t")
    assert "as recorded (0 edges, 0 executions; pruned: history before step 5)" in verified
    assert data(said, "fork", "agents:graph", "t")["status"] == "done", "nothing that was pruned lies ahead"


def test_what_is_refused(said: Said) -> None:
    said("run", "agents:light", code=3)
    assert "Nothing says which threads are to go" in said("prune", code=2)
    assert "resumed from its recorded answers" in said("prune", "--answers", "--status", "failed", code=2)
    assert data(said, "prune", "--store", "memory://", "--keep", "1", code=2)["error"]["code"] == "usage"
    assert data(said, "prune", "--store", "sqlite:///nowhere.db", "--keep", "1", code=5)["error"]["code"]
    with pytest.raises(SystemExit):
        said("prune", "--status", "running")


def test_what_stays_is_told_with_the_reason() -> None:
    pruned = Pruned(2, calls=1, checkpoints=1, kept={"forked": 1, "driven": 2}, bytes_before=2048, bytes_after=1024)
    assert list(pruned_text(pruned)) == [
        "Removed 2 threads, with 1 call and 1 checkpoint.",
        "Kept 2 threads: driven by now.",
        "Kept 1 thread: needed by a fork.",
        "The database took 2,048 bytes and takes 1,024: 1,024 freed.",
    ]


@pytest.mark.parametrize(
    "command", ["threads", "prune --keep 1", "show t", "history t", "cancel t", "recover agents:graph"]
)
def test_a_file_of_somebody_else_is_left_as_it_is(said: Said, command: str) -> None:
    """Looked at by mistake: refused, and not a byte of it changed."""
    with closing(sqlite3.connect("theirs.db")) as theirs:
        theirs.execute("CREATE TABLE invoices (id)")
    before = Path("theirs.db").read_bytes()
    error = data(said, *command.split(), "--store", "sqlite:///theirs.db", code=5)["error"]
    assert error["code"] == "store_unavailable"
    assert "no threads of Vertebra, and was left as it is" in error["message"]
    assert Path("theirs.db").read_bytes() == before
    assert sorted(path.name for path in Path().glob("theirs.db*")) == ["theirs.db"]
    Path("letter.txt").write_text("Dear Sir or Madam, " * 100)
    assert data(said, *command.split(), "--store", "sqlite:///letter.txt", code=5)["error"]["code"] == "store_corrupt"


def test_a_damaged_thread_is_named_with_its_row_and_keeps_no_other(said: Said) -> None:
    for thread in ("one", "two"):
        said("run", "agents:light", "--thread", thread, code=3)
        said("resume", "agents:light", thread, "--answer", "true")
    with closing(sqlite3.connect("vertebra.db", isolation_level=None)) as database:
        database.execute(
            "UPDATE vertebra_state_checkpoints SET data = 'secret' WHERE thread_number = "
            "(SELECT number FROM vertebra_state_threads WHERE thread = 'one')"
        )
    pruned = data(said, "prune", "--keep", "1", "--dry-run", code=5)
    assert (pruned["shortened"], pruned["kept"], [*pruned["damaged"]]) == (1, {"damaged": 1}, ["one"])
    error = pruned["damaged"]["one"]
    assert (error["code"], error["context"]["thread"]) == ("store_corrupt", "one")
    lines = said("prune", "--keep", "1", code=5).splitlines()
    assert lines[1] == "Kept 1 thread: damaged."
    assert lines[2].startswith(f"Damaged is one: Damaged row: {error['context']['row']} (")
    assert "To go on: restore the database from a backup" in lines[2]
    assert "secret" not in lines[2]
