"""``vertebra graph show`` and ``vertebra graph draw``, as their user runs them."""

from __future__ import annotations

from tests.cli.conftest import Shell


def test_a_graph_is_shown_and_drawn_with_a_run_over_it_and_against_another(shell: Shell) -> None:
    shown = shell("graph", "show", "agents:graph")
    assert shown.returncode == 0, shown.stderr
    assert "approve" in shown.stdout
    assert "╔" in shown.stdout, "a person's box"

    assert shell("run", "agents:light", "--thread", "t-1").returncode == 3
    shown = shell("graph", "show", "agents:light", "--run", "t-1")
    assert "waits for an answer" in shown.stdout
    assert "interrupted" in shown.stdout

    drawn = shell("graph", "draw", "agents:light", "-o", "light.png", "--run", "t-1")
    assert (drawn.returncode, drawn.stdout) == (0, "Wrote light.png.\n")
    assert (shell.folder / "light.png").read_bytes().startswith(b"\x89PNG")
    drawn = shell("graph", "draw", "agents:graph", "--diff", "agents:light")
    assert drawn.stdout.startswith("<svg ")
    assert "light 2 → scribe 1" in drawn.stdout
    assert shell("graph", "draw", "agents:light", "--format", "mermaid").stdout.startswith("flowchart TD")


def test_what_cannot_be_drawn_is_told_in_one_line(shell: Shell) -> None:
    for arguments, code, told in (
        (("graph", "draw", "agents:light", "-o", "x.jpeg"), 2, "x.jpeg"),
        (("graph", "draw", "agents:light", "-o", "no/where.svg"), 2, "no/where.svg"),
        (("graph", "show", "agents:light", "--run", "nobody"), 2, "no database"),
        (("graph", "show", "agents:light", "--depth", "-1"), 2, "depth"),
    ):
        ran = shell(*arguments)
        assert told in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert ran.returncode in (code, 5)


def test_a_terminal_that_is_too_narrow_gets_a_list(shell: Shell) -> None:
    code, told = shell.on_terminal("graph", "show", "agents:graph", columns=24)
    assert code == 0
    lines = told.replace("\r", "").splitlines()
    assert all(len(line) <= 24 for line in lines)
    assert "  → approve" in lines
