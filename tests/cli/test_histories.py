"""``vertebra history`` and ``vertebra fork``, in this process: what a process of their own adds is tested elsewhere."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Said, Shell
from vertebra.cli.histories import tree_text
from vertebra.cli.terminal import Terminal
from vertebra.types import ThreadTree


def data(said: Said, *arguments: str, code: int = 0) -> Any:
    return json.loads(said(*arguments, "--json", code=code))


def test_history_and_forks_are_a_tree(said: Said, shell: Shell) -> None:
    said("run", "agents:graph", "--input", '{"text": "a b"}', "--thread", "t", code=3)
    alone = data(said, "history", "t")
    assert [edge["nodes"] for edge in alone["edges"]] == [[], ["__start__"], ["cut"], ["summarise"], ["draft"]]
    assert alone["edges"][-1]["next"] == ["approve"]
    at = alone["edges"][3]["checkpoint_id"]
    paid = len(shell.model.books.paid())
    fork = data(said, "fork", "agents:graph", "t", "--at", at, "--update", '{"notes": ["c"]}', "--thread", "f")
    assert (fork["thread"], fork["status"], fork["next"]) == ("f", "interrupted", ["draft"])
    assert data(said, "resume", "agents:graph", "f", code=3)["calls"] == 1
    assert len(shell.model.books.paid()) == paid + 1
    made = said("fork", "agents:graph", "f", "--fresh", "--as-node", "draft", "--thread", "g")
    assert made == "thread g: forked from f, interrupted; next: approve\n"
    tree = data(said, "history", "g")
    assert [tree["thread"], tree["forks"][0]["thread"], tree["forks"][0]["forks"][0]["thread"]] == ["t", "f", "g"]
    text = said("history", "g").splitlines()
    assert text[0] == "thread t (scribe 1): interrupted"
    assert text[1].startswith("├  -1  ")
    assert text[1].endswith("  input → begin")
    assert text[4] == f"├   2  {at}  summarise wrote notes → draft"
    assert text[5] == "│ ╰─ fork f (scribe 1): interrupted"
    assert text[6].startswith("│    ├   2  ")
    assert text[6].endswith("  fork wrote notes → draft")
    assert text[7].startswith("│    ╰   3  ")
    assert text[8] == "│      ╰─ fork g (scribe 1, fresh): interrupted"
    assert text[-1].endswith("draft wrote report → approve")


def test_what_was_inherited_is_shown_as_that(said: Said) -> None:
    said("run", "agents:graph", "--input", '{"text": "a"}', "--thread", "t", code=3)
    at = data(said, "history", "t")["edges"][2]["checkpoint_id"]
    said("fork", "agents:graph", "t", "--at", at, "--thread", "f")
    assert [(call["source"], call["origin"]) for call in data(said, "show", "f")["calls"]] == [("journal", "t")] * 2
    shown = said("show", "f")
    assert "thread t" in shown
    assert "0 calls; 0 tokens in, 0 out" in shown, "the parent has paid"
    assert "someone did by hand: fork" in shown


def test_a_tree_fits_the_terminal_and_says_that_a_parent_is_gone() -> None:
    tree = ThreadTree("f" * 90, "g", "1", "done", "t", "c", False, (), ())
    (line,) = tree_text(tree, tree.thread, Terminal(colour=True, width=40))
    assert line == f"\x1b[1mfork {'f' * 34}…\x1b[0m"
    (line,) = tree_text(tree, "another", Terminal())
    assert line.endswith("(g 1, of t, which is gone): done")


def test_what_cannot_be_forked(said: Said) -> None:
    said("fork", "agents:light", "t", code=5)
    said("run", "agents:light", "--thread", "t", code=3)
    assert data(said, "fork", "agents:light", "t", "--at", "x", code=4)["error"]["code"] == "checkpoint_not_found"
    assert data(said, "fork", "agents:light", "t", "--thread", "t", code=4)["error"]["code"] == "thread_exists"
    assert data(said, "fork", "agents:graph", "t", code=4)["error"]["code"] == "graph_changed"
    said("fork", "agents:light", "t", "--update", "{", code=2)
