"""The page that a clinician reads: the report, where each line was said, and how it came about.

One file, nothing from the network, no script; all text that comes from outside is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from vertebra.cli.demo.drawing import draw
from vertebra.cli.demo.records import Approval, Consultation, Report
from vertebra.cli.demo.story import Stage, Watch, total
from vertebra.cli.demo.wording import NOT_SAID, SECTIONS, sentences

_TITLES = {
    "complaint": "Reason for the visit",
    "history": "History",
    "medication": "Medication",
    "findings": "Findings",
    "plan": "Plan",
}

_STYLE = """
:root { --ink: #1c2733; --soft: #5b6b7b; --line: #d9e0e7; --paper: #fff; --ground: #f3f6f8; --accent: #0b6e75;
  --ok: #1b7a43; --ok-ground: #e5f4ea; --bad: #b3261e; --bad-ground: #fdecea; --warn: #7a5200; --warn-ground: #fff4dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf0; --soft: #9aa9b8; --line: #33404d; --paper: #1a222b;
  --ground: #12181f; --accent: #5cc3ca; --ok: #6fd39a; --ok-ground: #16301f; --bad: #ff8a80; --bad-ground: #3a1b19;
  --warn: #f3c567; --warn-ground: #332709; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .8rem; }
.sub { color: var(--soft); margin: .2rem 0 1.2rem; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 1.25rem 1.5rem;
  margin: 0 0 1.25rem; }
.note { border-radius: 8px; padding: .6rem .9rem; margin: 0 0 .8rem; }
.ok { background: var(--ok-ground); color: var(--ok); } .warn { background: var(--warn-ground); color: var(--warn); }
dl { display: grid; grid-template-columns: 12.5rem 1fr; margin: 0; }
dt, dd { border-top: 1px solid var(--line); padding: .65rem 0; margin: 0; }
dl > dt:first-of-type, dl > dt:first-of-type + dd { border-top: 0; }
dt { font-weight: 600; color: var(--accent); } dd p { margin: 0 0 .25rem; }
time { color: var(--soft); font-size: .82rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.none { color: var(--soft); font-style: italic; }
.said { display: grid; grid-template-columns: 4.5rem 1fr; gap: .4rem .8rem; }
.said p { margin: 0; } mark { background: var(--ok-ground); color: inherit; border-radius: 3px; padding: 0 .1em; }
.wide { overflow-x: auto; } svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
table { margin-top: 1.2rem; border-collapse: collapse; width: 100%; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; text-align: right; border-top: 1px solid var(--line); }
th { vertical-align: bottom; color: var(--soft); font-weight: 600; border-top: 0; }
th:first-child, td:first-child { text-align: left; }
tfoot td { font-weight: 700; border-top: 2px solid var(--line); }
tr.killed td { background: var(--bad-ground); } tr.killed td:first-child { color: var(--bad); }
footer { color: var(--soft); font-size: .82rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { border-top: 0; padding-top: 0; } }
@media print { body { background: #fff; } .card { break-inside: avoid; } .how { display: none; } }
"""


def render(visit: Consultation, watch: Watch | None = None, stages: Sequence[Stage] = ()) -> str:
    """The page of a consultation; with what was watched, also how the run went."""
    how = _how(watch, stages) if watch is not None and stages else ""
    name = Path(visit.audio).name
    length = visit.transcript[-1].end_s if visit.transcript else 0.0
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Consultation report · {escape(name)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Consultation report</h1>
<p class="sub">{escape(name)} · {clock(length)} of recording · {len(visit.transcript)} passages</p>
<section class="card">
{_approval(visit.approval)}
{_report(visit) if visit.report else ""}
</section>
<section class="card">
<h2>What was said</h2>
{_transcript(visit)}
</section>
{how}
<footer>Every line of the report is a sentence of the transcript; a model chose it, and wrote none of its own.
The transcript is made by a machine: names of medicines and numbers above all need the recording beside them.</footer>
</main>
</body>
</html>
"""


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours.

    Example::

        >>> clock(75.2)
        '1:15'
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _approval(approval: Approval | None) -> str:
    if approval is None:
        return '<p class="note warn">A draft that nobody has approved.</p>'
    remark = f" “{escape(approval.remark)}”" if approval.remark else ""
    by = escape(approval.by)
    if approval.approved and approval.by.startswith("the demo"):
        return (
            f'<p class="note warn">Draft. No clinician has read it: approved by {by} ({escape(approval.remark)}).</p>'
        )
    if approval.approved:
        return f'<p class="note ok">✓ Approved by {by}.{remark}</p>'
    return f'<p class="note warn">Declined by {by}.{remark}</p>'


def _report(visit: Consultation) -> str:
    report: Report | None = visit.report
    rows = []
    for section in SECTIONS:
        lines = getattr(report, section)
        cells = "".join(
            f'<p class="none">{NOT_SAID}</p>' if line == NOT_SAID else f"<p>{escape(line)} {_place(visit, line)}</p>"
            for line in lines
        )
        rows.append(f"<dt>{_TITLES[section]}</dt><dd>{cells}</dd>")
    return f"<dl>{''.join(rows)}</dl>"


def _place(visit: Consultation, line: str) -> str:
    """From when on the passage goes in which a line was said."""
    for passage in visit.transcript:
        if line in passage.text:
            return f"<time>{clock(passage.start_s)}&ndash;{clock(passage.end_s)}</time>"
    return ""


def _transcript(visit: Consultation) -> str:
    report = visit.report
    used = {line for section in SECTIONS for line in getattr(report, section)} if report else set()
    rows = []
    for passage in visit.transcript:
        words = " ".join(
            f"<mark>{escape(line)}</mark>" if line in used else escape(line) for line in sentences(passage.text)
        )
        rows.append(f"<time>{clock(passage.start_s)}&ndash;{clock(passage.end_s)}</time><p>{words}</p>")
    return f'<div class="said">{"".join(rows)}</div>'


def _how(watch: Watch, stages: Sequence[Stage]) -> str:
    return f"""<section class="card how">
<h2>How it came about</h2>
{_processes(watch)}
<div class="wide">{draw(stages).svg}</div>
<div class="wide">{_table(stages)}</div>
</section>"""


def _processes(watch: Watch) -> str:
    acts = {"start": "started the run", "recover": "recovered it", "answer": "took the answer and finished it"}
    told = [
        f"Process {p['pid']} {acts.get(p['action'], p['action'])}"
        + (" and was killed in the middle of the draft." if "killed" in str(p["ended"]) else ".")
        for p in watch.processes
    ]
    return f'<p class="sub">{escape(" ".join(told))}</p>'


def _table(stages: Sequence[Stage]) -> str:
    def number(value: float, digits: int = 0) -> str:
        return f"{value:,.{digits}f}" if value else "&ndash;"

    rows = []
    for stage in stages:
        calls = stage.spent.calls if stage.kind == "llm" else 0
        broken = f" ({stage.broken_off} broken off)" if stage.broken_off else ""
        cells = [
            number(calls) + broken,
            number(stage.from_journal),
            number(stage.kept if stage.kind == "llm" else 0),
            number(stage.spent.tokens),
            f"{stage.spent.seconds:.1f}",
            number(stage.plain.calls if stage.kind == "llm" else 0),
            number(stage.plain.tokens),
            f"{stage.plain.seconds:.1f}",
        ]
        kind = ' class="killed"' if stage.killed else ""
        rows.append(f"<tr{kind}><td>{stage.name}{' ✗' if stage.killed else ''}</td>{_cells(cells)}</tr>")
    spent, plain = total(stages, "spent"), total(stages, "plain")
    foot = [
        *(number(spent.calls), number(sum(s.from_journal for s in stages))),
        number(sum(s.kept for s in stages if s.kind == "llm")),
        *(number(spent.tokens), f"{spent.seconds:.1f}"),
        *(number(plain.calls), number(plain.tokens), f"{plain.seconds:.1f}"),
    ]
    return (
        "<table><thead><tr><th>stage</th><th>calls made</th><th>from the journal</th><th>kept in the state</th>"
        "<th>tokens</th><th>seconds</th><th>calls, starting over</th>"
        "<th>tokens, starting over</th><th>seconds, starting over</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody><tfoot><tr><td>all</td>{_cells(foot)}</tr></tfoot></table>"
    )


def _cells(values: Sequence[str]) -> str:
    return "".join(f"<td>{value}</td>" for value in values)
