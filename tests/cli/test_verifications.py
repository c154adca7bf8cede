"""``vertebra verify`` and ``vertebra export``, in this process."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.checkpointers.encrypted import execute
from tests.cli.conftest import Said, Shell
from tests.cli.test_histories import data
from vertebra.cli.arguments import parser
from vertebra.cli.loading import load_graph
from vertebra.cli.verifications import _verifications


def change(shell: Shell, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release of the agents."""
    agents = shell.folder / "agents.py"
    text = agents.read_text()
    assert old in text
    agents.write_text(text.replace(old, new) + "\n" * 7)  # of another size, so that it is compiled anew
    monkeypatch.delitem(sys.modules, "agents", raising=False)


def test_verify_for_ci(said: Said, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    said("run", "agents:graph", "--input", '{"text": "a b"}', "--thread", "t", code=3)
    said("resume", "agents:graph", "t", "--answer", '{"ok": true}')
    said("run", "agents:light", "--thread", "u", code=3)
    asked = len(shell.model.books)
    text = said("verify", "agents:graph", "t")
    assert text == "thread t: as recorded (5 edges, 6 executions)\n"
    assert [item["ok"] for item in data(said, "verify", "agents:graph", "--all", "--since", "1d")] == [True]
    assert said("verify", "agents:graph", "--all", "--since", "0min") == "Nothing to verify.\n"
    exported = said("export", "agents:graph", "t")
    assert "Summarise a" in exported
    assert shell.env["OPENAI_API_KEY"] not in exported
    (shell.folder / "t.json").write_text(exported)
    change(shell, "Summarise {piece}", "Sum up {piece}", monkeypatch)
    (found,) = data(said, "verify", "agents:graph", "t", code=6)
    assert [(item["kind"], item["node"]) for item in found["differences"]] == [("request", "summarise")] * 2
    text = said("verify", "agents:graph", "--file", "t.json", "--store", "sqlite:///none.db", code=6)
    assert "thread t: 2 differences" in text
    assert "request of summarise at step 2:" in text
    assert '+   "content": "Sum up a"' in text
    change(shell, "visit.text.split()", "[visit.text]", monkeypatch)
    text = said("verify", "agents:graph", "t", code=6)
    assert "  update of cut at step 1, field pieces:\n    recorded ['a', 'b'], now ['a b']" in text
    assert len(shell.model.books) == asked


def test_what_cannot_be_verified(said: Said, shell: Shell) -> None:
    said("verify", "agents:light", code=2)
    said("verify", "agents:light", "t", code=5)
    said("export", "agents:light", "t", code=5)
    said("run", "agents:light", "--thread", "t", code=3)
    assert data(said, "verify", "agents:light", "nobody", code=4)["error"]["code"] == "thread_not_found"
    assert data(said, "export", "agents:light", "nobody", code=4)["error"]["code"] == "thread_not_found"
    (shell.folder / "no.json").write_text("{}")
    assert data(said, "verify", "agents:light", "--file", "no.json", code=2)["error"]["code"] == "usage"
    said("verify", "agents:light", "--file", "none.json", code=2)


@pytest.mark.parametrize(("text", "seconds"), [("30d", 30 * 86400), ("1.5h", 5400), ("45min", 2700)])
def test_spans(text: str, seconds: float) -> None:
    assert parser().parse_args(["verify", "a:b", "--all", "--since", text]).since == seconds


@pytest.mark.parametrize("text", ["30", "d", "-1d", "nand"])
def test_what_is_no_span(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["verify", "a:b", "--all", "--since", text])
    capsys.readouterr()


def test_a_damaged_thread_hides_no_other(said: Said, shell: Shell) -> None:
    for thread in ("a", "b", "c"):
        said("run", "agents:light", "--thread", thread, code=3)
        said("resume", "agents:light", thread, "--answer", "true")
    url = f"sqlite:///{shell.folder / 'vertebra.db'}"
    of_b = "WHERE thread_number = (SELECT number FROM vertebra_state_threads WHERE thread = 'b')"
    execute(url, f"UPDATE vertebra_state_checkpoints SET data = ? {of_b}", b"")
    text = said("verify", "agents:light", "--all", code=5)
    assert [line.split(" (")[0] for line in text.splitlines() if line.startswith("thread")] == [
        "thread c: as recorded",
        "thread b: not verified",
        "thread a: as recorded",
    ]
    assert "Damaged row: checkpoint" in text
    found = {item["thread"]: item for item in data(said, "verify", "agents:light", "--all", code=5)}
    assert {thread: item["ok"] for thread, item in found.items()} == {"a": True, "b": False, "c": True}
    assert [found[thread]["error"] and found[thread]["error"]["code"] for thread in "abc"] == [
        None,
        "store_corrupt",
        None,
    ]
    assert len(data(said, "verify", "agents:light", "nobody", "a", code=4)) == 2
    for command in (["history", "b"], ["export", "agents:light", "b"], ["verify", "agents:light", "b"]):
        assert data(said, *command, code=5)["error"]["context"]["thread"] == "b"
    execute(url, "UPDATE vertebra_threads SET shape = 'x' WHERE thread = 'c'")
    text = said("verify", "agents:light", "--all", code=5)
    assert "thread a: as recorded" in text
    assert text.count("not verified") == 2
    listed = {item["thread"]: item["status"] for item in data(said, "threads")}
    assert listed == {"a": "done", "b": "done", "c": "damaged"}
    assert "Damaged row: run record" in said("threads")
    assert data(said, "prune", "--keep", "1", "--dry-run", code=5)["kept"] == {"damaged": 2}
    text = said("prune", "--keep", "1", code=5)
    assert "Kept 2 threads: damaged." in text
    assert "of 1 thread.\n" in text
    for name in ("one", "two"):
        (shell.folder / f"{name}.json").write_text("[]")
    (shell.folder / "a.json").write_text(said("export", "agents:light", "a"))
    files = ["--file", "one.json", "--file", "a.json", "--file", "two.json"]
    assert [item["ok"] for item in data(said, "verify", "agents:light", *files, code=2)] == [False, True, False]


def test_a_thread_that_goes_while_others_are_verified_is_no_error(said: Said, shell: Shell) -> None:
    for thread in ("a", "b", "c"):
        said("run", "agents:light", "--thread", thread, code=3)
    options = parser().parse_args(["verify", "agents:light", "--all"])

    async def verified() -> list[str]:
        found = []
        async with load_graph("agents:light").compile(checkpointer="sqlite:///vertebra.db") as app:
            async for verification in _verifications(app, options):
                found.append(verification.thread)
                if verification.thread == "c":
                    await app.delete("b")
        return found

    assert asyncio.run(verified()) == ["c", "a"]
