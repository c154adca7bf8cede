"""The graph as it was run, as SVG: a box for each node with what happened there, the kill marked."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from vertebra.cli.demo.story import Stage

_WIDTH, _HEIGHT, _GAP = 196, 96, 44
_IN_A_ROW = 4
_MARGIN = 14


def draw(stages: Sequence[Stage]) -> str:
    """The stages as a path of boxes, four in a row, the second row running back."""
    places = [_place(index) for index in range(len(stages))]
    width = 2 * _MARGIN + _IN_A_ROW * _WIDTH + (_IN_A_ROW - 1) * _GAP
    rows = (len(stages) + _IN_A_ROW - 1) // _IN_A_ROW
    height = 2 * _MARGIN + rows * _HEIGHT + (rows - 1) * _GAP
    arrows = "".join(_arrow(a, b) for a, b in pairwise(places))
    boxes = "".join(_box(stage, place) for stage, place in zip(stages, places, strict=True))
    label = escape(" then ".join(stage.name for stage in stages))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}" '
        'font-family="inherit" font-size="13">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="var(--soft)"/></marker></defs>'
        f"{arrows}{boxes}</svg>"
    )


def _place(index: int) -> tuple[int, int]:
    row, column = divmod(index, _IN_A_ROW)
    if row % 2:
        column = _IN_A_ROW - 1 - column
    return _MARGIN + column * (_WIDTH + _GAP), _MARGIN + row * (_HEIGHT + _GAP)


def _arrow(source: tuple[int, int], target: tuple[int, int]) -> str:
    (ax, ay), (bx, by) = source, target
    if ay != by:
        x = ax + _WIDTH // 2
        line = (x, ay + _HEIGHT, x, by - 2)
    elif bx > ax:
        line = (ax + _WIDTH, ay + _HEIGHT // 2, bx - 2, by + _HEIGHT // 2)
    else:
        line = (ax, ay + _HEIGHT // 2, bx + _WIDTH + 2, by + _HEIGHT // 2)
    x1, y1, x2, y2 = line
    ends = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {ends} stroke="var(--soft)" stroke-width="1.5" marker-end="url(#tip)"/>'


def _box(stage: Stage, place: tuple[int, int]) -> str:
    x, y = place
    colour = f"var(--{stage.kind})"
    frame = "var(--bad)" if stage.killed else "var(--line)"
    fill = "var(--bad-ground)" if stage.killed else "var(--ground)"
    parts = []
    if stage.kind == "llm" and stage.executions > 1 and not stage.killed:  # a fan-out: a stack of boxes
        parts.append(_frame(x + 6, y - 6, frame, fill))
    parts.append(_frame(x, y, frame, fill))
    parts.append(f'<rect x="{x}" y="{y + 10}" width="4" height="{_HEIGHT - 20}" rx="2" fill="{colour}"/>')
    parts.append(f'<text x="{x + 16}" y="{y + 24}" font-weight="700" fill="var(--ink)">{stage.name}</text>')
    kind = _kind(stage)
    parts.append(
        f'<text x="{x + _WIDTH - 12}" y="{y + 24}" text-anchor="end" font-size="11" fill="{colour}">{kind}</text>'
    )
    for number, line in enumerate(_lines(stage)):
        ink = "var(--bad)" if line.startswith("✗") else "var(--soft)"
        parts.append(f'<text x="{x + 16}" y="{y + 46 + 18 * number}" font-size="12" fill="{ink}">{escape(line)}</text>')
    return "<g>" + "".join(parts) + "</g>"


def _frame(x: int, y: int, stroke: str, fill: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="9" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"/>'
    )


def _kind(stage: Stage) -> str:
    if stage.kind == "llm" and stage.executions > 1 and not stage.killed:
        return f"model &times; {stage.executions}"
    return {"llm": "model", "effect": "effect", "human": "person", "transition": "code"}[stage.kind]


def _lines(stage: Stage) -> list[str]:
    """At most three lines: the calls, then tokens and time, then what the crash did not take."""
    seconds = f"{stage.spent.seconds:.1f} s"
    if stage.kind != "llm":
        return [
            {"effect": "done once", "human": "asked, then answered", "transition": "deterministic"}[stage.kind],
            seconds,
        ]
    tokens = f"{stage.spent.tokens:,} tokens, " if stage.spent.tokens else ""
    calls = f"{stage.spent.calls} call{'s' if stage.spent.calls != 1 else ''}"
    if stage.killed:
        return [
            f"✗ killed here: {stage.broken_off} call lost",
            f"{stage.from_journal} from the journal",
            tokens + seconds,
        ]
    kept = [f"{stage.kept} kept through the crash"] if stage.kept else []
    return [calls, tokens + seconds, *kept]
