"""``vertebra memory`` as a process: what it lists, shows, writes and reads, and its exit codes."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, kill, until
from vertebra import open_memory
from vertebra.memory import Provenance

CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"drug": "lisinopril"}'}}


@pytest.fixture
def filled(shell: Shell) -> Shell:
    with open_memory(f"sqlite:///{shell.folder}/memory.db") as memory:
        visit = memory.conversation("visit-42", subject="patient-7")
        visit.append_sync({"role": "user", "name": "ann", "content": "He coughs \x1b[31m\u009b31m at night."}, key="k")
        visit.append_sync({"role": "assistant", "tool_calls": [CALL]}, provenance=Provenance(node="draft"), tokens=7)
        parts = [{"type": "text", "text": "See:"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
        visit.append_sync({"role": "user", "content": parts})
        visit.branch_sync("retry", at=1).append_sync({"role": "assistant", "content": "Since when?"})
        visit.set_title_sync("Cough")
        visit.tag_sync("open", "lungs")
        memory.conversation("visit-43").append_sync({"role": "user", "content": "b"})
        memory.conversation("secret", tenant="other").append_sync({"role": "user", "content": "c"})
    return shell


def test_ls(filled: Shell) -> None:
    listed = filled("memory", "ls")
    assert listed.returncode == 0
    assert "patient-7" in listed.stdout
    assert "lungs, open" in listed.stdout
    assert listed.stdout.endswith("2 conversations.\n")
    assert "secret" not in listed.stdout
    one = filled.json("memory", "ls", "--tag", "open", "--tag", "lungs", "--subject", "patient-7", "--limit", "1")
    assert [(row["id"], row["messages"], row["tags"]) for row in one] == [("visit-42", 4, ["lungs", "open"])]
    assert [row["id"] for row in filled.json("memory", "ls", "--tenant", "other")] == ["secret"]
    assert filled("memory", "ls", "--tag", "never").stdout == "0 conversations.\n"


def test_search(filled: Shell) -> None:
    found = filled("memory", "search", "coughing at night", "--subject", "patient-7")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("visit-42 1: user, ")
    assert "He coughs" in found.stdout
    assert found.stdout.endswith("1 hit.\n")
    assert "\x1b" not in found.stdout
    (hit,) = filled.json(
        "memory", "search", 'when "since" OR (', "--role", "assistant", "--since", "1h", "--limit", "1"
    )
    assert (hit["conversation"], hit["branch"], hit["id"], hit["role"]) == ("visit-42", "retry", 4, "assistant")
    assert [hit["snippet"][start:end] for start, end in hit["marks"]] == ["Since", "when"]
    assert filled.json("memory", "search", "night", "--tenant", "other") == []
    assert filled("memory", "search", "night", "--tag", "never").stdout == "0 hits.\n"


def test_embedded_from_the_shell_it_is_found_by_meaning(filled: Shell) -> None:
    by = ("--embedder", "hashing")
    assert filled("memory", "search", "night", "--mode", "vectors").returncode == 2
    assert filled("memory", "embed", "--embedder", "oracle").returncode == 2
    assert "--embedder" in filled("memory", "embed").stderr
    waiting = filled("memory", "search", "He coughs", *by)
    hint = "4 entries have no vector of hashing yet: vertebra memory embed --embedder hashing\n"
    assert (waiting.returncode, waiting.stderr) == (0, hint)
    elsewhere = ("--tenant", "o 1", "--memory", "sqlite:///other memory.db")
    filled("memory", "import", "-", *elsewhere, stdin=filled("memory", "export").stdout)
    hinted = filled("memory", "search", "He coughs", *by, *elsewhere).stderr.partition(": ")[2]
    typed = shlex.split(hinted)
    assert typed[:3] == ["vertebra", "memory", "embed"]
    assert filled(*typed[1:]).stdout == "4 entries embedded by hashing-256.\n"
    first = filled.json("memory", "embed", *by, "--limit", "1")
    assert first == {"embedded": 1, "waiting": 3, "embedder": "hashing-256"}
    told = filled("memory", "embed", *by, "--drop-others")
    assert (told.stdout, told.stderr) == ("3 entries embedded by hashing-256.\n", "")
    assert filled("memory", "embed", *by).stdout == "0 entries embedded by hashing-256.\n"
    found = filled.json("memory", "search", "Since when?", *by, "--mode", "vectors", "--limit", "1")
    assert [(hit["id"], hit["vector_rank"], hit["text_rank"]) for hit in found] == [(4, 1, None)]
    both = filled.json("memory", "search", "Since when?", *by, "--limit", "1")
    assert [(hit["id"], hit["vector_rank"], hit["text_rank"]) for hit in both] == [(4, 1, 1)]
    asked = ("--embedder", "openai:nomic:embed:8")
    assert filled.json("memory", "embed", *asked)["embedder"] == "openai/nomic:embed/8"
    assert filled.json("memory", "search", "b", *asked, "--mode", "vectors", "--limit", "1")[0]["id"] == 1
    assert len(filled.model.books.paid()) == 2


def test_what_a_killed_command_had_begun_is_told_of(filled: Shell) -> None:
    embed = ("memory", "embed", "--embedder", "openai:e:8")
    filled.model.on(lambda asked: True).hang()
    begun = filled.start(*embed)
    until(lambda: len(filled.model.books))
    kill(begun)
    told = filled(*embed).stdout.splitlines()
    assert told[0] == "0 entries embedded by openai/e/8; 4 entries left."
    assert told[1] == "Another process has taken them on; if it was stopped, do this again in 5 minutes."
    with open_memory(f"sqlite:///{filled.folder}/memory.db") as memory:
        memory.database.run_sync(lambda tx: tx.execute("UPDATE vertebra_memory_claims SET until = until - 300"))
    limited = filled(*embed, "--limit", "1").stdout
    assert limited == "1 entry embedded by openai/e/8; 3 entries left.\n", "these wait for nobody but the next command"
    assert filled(*embed).stdout == "3 entries embedded by openai/e/8.\n"


def test_show(filled: Shell) -> None:
    shown = filled("memory", "show", "visit-42").stdout
    for text in ("Cough", "user ann", "\\x1b[31m", 'look_up({"drug": "lisinopril"})', "[image_url]", "draft"):
        assert text in shown
    assert "branch retry, from main after message 1" in shown
    assert "\x1b" not in shown
    assert "\u009b" not in shown
    data = filled.json("memory", "show", "visit-42", "--branch", "retry", "--last", "1")
    assert data["conversation"]["subject"] == "patient-7"
    assert [branch["name"] for branch in data["branches"]] == ["main", "retry"]
    (message,) = data["messages"]
    assert (message["id"], message["message"]) == (4, {"role": "assistant", "content": "Since when?"})


def test_exported_and_imported_it_is_the_same(filled: Shell) -> None:
    told = filled.json("memory", "export", "--out", "all.jsonl")
    assert told == {
        "conversations": 2,
        "messages": 5,
        "facts": 0,
        "holds": 0,
        "receipts": 0,
        "items": 0,
        "file": "all.jsonl",
    }
    assert sorted(path.name for path in filled.folder.glob("all.jsonl*")) == ["all.jsonl"]
    other = ("--memory", "sqlite:///other.db", "--tenant", "clinic")
    assert filled("memory", "import", "all.jsonl", *other).stdout == "2 conversations, 5 messages imported.\n"
    again = filled("memory", "import", "all.jsonl", *other).stdout
    assert again == "0 conversations, 0 messages imported, 2 were there already.\n"
    out = filled("memory", "export", *other).stdout
    assert out == (filled.folder / "all.jsonl").read_text()
    one = filled("memory", "export", "visit-42", "--subject", "patient-7").stdout
    piped = filled("memory", "import", "-", "--tenant", "third", "--json", stdin=one)
    assert json.loads(piped.stdout) == {
        "conversations": 1,
        "messages": 4,
        "unchanged": 0,
        "facts": 0,
        "holds": 0,
        "receipts": 0,
        "items": 0,
    }
    assert [line["type"] for line in filled.json("memory", "export", "visit-43")] == [
        "conversation",
        "branch",
        "message",
    ]
    with open_memory(f"sqlite:///{filled.folder}/memory.db") as memory:
        memory.conversation("visit-43").add_summary_sync("He asked.", upto=1)
        memory.store().put(("a",), "b", {"c": 1})
    assert filled.json("memory", "export", "--out", "all.jsonl")["items"] == 1
    assert filled("memory", "import", "all.jsonl", "--memory", "sqlite:///new.db").stdout.endswith("1 item imported.\n")
    again = filled("memory", "import", "all.jsonl", "--memory", "sqlite:///new.db").stdout
    assert again == "0 conversations, 0 messages imported, 2 were there already.\n"
    assert (
        filled("memory", "export", "--memory", "sqlite:///new.db").stdout == (filled.folder / "all.jsonl").read_text()
    )
    assert "written to x.jsonl" in filled("memory", "export", "visit-43", "--out", "x.jsonl").stdout


MISTAKES = {
    "no conversation": (4, ("show", "never"), "conversation_not_found"),
    "another tenant's": (4, ("show", "secret"), "conversation_not_found"),
    "no branch": (4, ("show", "visit-42", "--branch", "never"), "branch_not_found"),
    "nothing to export": (4, ("export", "never"), "conversation_not_found"),
    "no export": (4, ("import", "agents.py"), "export_invalid"),
    "another under the id": (4, ("import", "mine.jsonl"), "conversation_exists"),
    "no file": (2, ("import", "never.jsonl"), "usage"),
    "no text": (2, ("import", "bytes.jsonl"), "usage"),
    "no folder": (2, ("export", "--out", "never/x.jsonl"), "usage"),
    "no name": (2, ("show", ""), "usage"),
    "no database": (5, ("ls", "--memory", "sqlite:///never.db"), "store_unavailable"),
    "nothing durable": (2, ("ls", "--memory", "memory://"), "usage"),
    "no URL": (5, ("ls", "--memory", "nonsense"), "store_url_invalid"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_have_codes(filled: Shell, what: str) -> None:
    code, arguments, name = MISTAKES[what]
    (filled.folder / "bytes.jsonl").write_bytes(b"\xff\xfe")
    (filled.folder / "mine.jsonl").write_text(
        filled("memory", "export", "visit-43").stdout.replace('"content":"b"', '"content":"mine"')
    )
    assert filled.json("memory", *arguments, code=code)["error"]["code"] == name
    assert not (filled.folder / "never.db").exists()


def test_the_memory_may_come_from_the_environment(filled: Shell, tmp_path: Path) -> None:
    (filled.folder / "memory.db").rename(tmp_path / "elsewhere.db")
    listed: subprocess.CompletedProcess[str] = filled("memory", "ls", VERTEBRA_MEMORY="sqlite:///elsewhere.db")
    assert "visit-42" in listed.stdout
