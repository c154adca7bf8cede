"""The closing table: stage by stage, what was paid, what was not, and what starting over would have cost."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vertebra.cli.demo.story import Spent, Stage, total


def count(number: int) -> str:
    return f"{number:,}" if number else "-"


def plain_of(stage: Stage) -> str:
    """What starting over would have paid at a stage, in words."""
    if stage.kind == "llm":
        tokens = f", {stage.plain.tokens:,} tokens" if stage.plain.tokens else ""
        return f"{stage.plain.calls} calls{tokens}, {stage.plain.seconds:.1f} s"
    return f"{stage.plain.seconds:.1f} s" if stage.plain.seconds >= 0.05 else "-"


def made_of(stage: Stage) -> str:
    """The calls that were made at a stage, and how many of them brought nothing."""
    if stage.kind == "effect":
        return "1 write" if stage.spent.calls else "-"
    broken = f" ({stage.broken_off} broken off)" if stage.broken_off else ""
    return f"{stage.spent.calls}{broken}" if stage.spent.calls else "-"


def print_table(console: Console, stages: Sequence[Stage], *, killed: bool) -> None:
    """Print the table and its conclusion.

    The columns ``journal`` and ``state`` count calls that were not made again: answered from the
    record, and kept with the finished nodes that they belonged to.
    """
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("calls made")
    table.add_column("journal", justify="right")
    table.add_column("state", justify="right")
    table.add_column("tokens", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("plain re-execution pays", no_wrap=False)
    for stage in stages:
        name = Text(stage.name)
        if stage.killed:
            name.append(" ✗", style="bold red")
        table.add_row(
            *(name, made_of(stage), count(stage.from_journal), count(stage.kept if stage.kind == "llm" else 0)),
            *(count(stage.spent.tokens), f"{stage.spent.seconds:.1f}", plain_of(stage)),
        )
    spent, plain = total(stages, "spent"), total(stages, "plain")
    table.add_section()
    table.add_row(
        Text("all", style="bold"),
        str(spent.calls),
        count(sum(stage.from_journal for stage in stages)),
        count(sum(stage.kept for stage in stages if stage.kind == "llm")),
        count(spent.tokens),
        f"{spent.seconds:.1f}",
        f"{plain.calls} calls, {plain.tokens:,} tokens, {plain.seconds:.1f} s",
    )
    console.print(table)
    console.print(Text(conclusion(spent, plain, killed=killed), style="bold"))


def conclusion(spent: Spent, plain: Spent, *, killed: bool) -> str:
    """One sentence that says what the spine was worth."""
    if not killed:
        return f"Not killed: {spent.calls} calls, each paid once."
    return (
        f"Killed and recovered for {spent.calls} calls and {spent.tokens:,} tokens; "
        f"starting over pays {plain.calls} calls and {plain.tokens:,} tokens "
        f"({plain.calls / max(1, spent.calls):.1f} times the calls)."
    )
