"""The pure parts: what is asked, what is taken for an answer, what is shown."""

from __future__ import annotations

import doctest
import json
from html.parser import HTMLParser

import pytest
from pydantic import ValidationError

from vertebra.cli.demo import multipart, report
from vertebra.cli.demo.records import Approval, Consultation, Note, Passage, Report
from vertebra.cli.demo.story import Watch
from vertebra.cli.demo.wording import (
    NOT_SAID,
    complaint_request,
    report_request,
    sentences,
    shares,
    statements,
    summary_request,
)

LINES = [
    "I have had a dry cough for two weeks.",
    "I am allergic to penicillin.",
    "Only lisinopril, ten milligrams every morning.",
    "Your lungs sound clear.",
    "We will stop lisinopril and start losartan.",
]


def options_of(request: dict[str, object]) -> dict[str, list[str]]:
    schema = json.loads(json.dumps(request["response_format"]))["json_schema"]["schema"]
    assert schema["required"] == list(schema["properties"])
    return {name: field["enum"] for name, field in schema["properties"].items()}


def test_only_what_was_said_can_be_chosen() -> None:
    offered = options_of(report_request(LINES, LINES[0]))

    assert {line for options in offered.values() for line in options} == set(LINES)
    assert offered["complaint_1"] == [LINES[0]]
    assert offered["history_1"] == [LINES[1]]
    assert offered["medication_1"] == [LINES[2]], "an allergy is no medication"
    assert offered["findings_1"] == [LINES[3]]
    assert offered["plan_1"] == [LINES[4]]


def test_a_section_of_which_nothing_was_said_says_so() -> None:
    assert options_of(report_request(LINES[:1], LINES[0]))["plan_1"] == [NOT_SAID]


def test_questions_and_pleasantries_are_no_statements() -> None:
    said = "Good morning. What brings you in? My knee hurts a lot. Thank you."
    assert statements(said) == ["My knee hurts a lot."]
    assert statements("Really? Why?") == ["Really?", "Why?"]
    assert statements("") == []
    assert len(sentences("word " * 200)[0]) <= 240


def test_hours_of_notes_make_a_bounded_request() -> None:
    lines = [f"I have pain number {n} and we will stop pill {n}." for n in range(3000)]
    for request in (report_request(lines, lines[0]), complaint_request(lines)):
        assert len(json.dumps(request)) < 12_000
    assert len(options_of(summary_request(" ".join(lines[:5])))) == 3


@pytest.mark.parametrize("count", range(1, 8))
def test_shares_keep_every_line_in_order(count: int) -> None:
    assert [line for part in shares(LINES, count) for line in part] == LINES
    assert all(shares(LINES, count))


def test_an_invented_line_is_no_report() -> None:
    answer = {f"{section}_1": LINES[0] for section in ("complaint", "history", "medication", "findings")}
    good = Report.read(json.dumps({**answer, "plan_1": LINES[4], "plan_2": LINES[4]}), LINES)
    assert good.plan == [LINES[4]]
    for plan in ({"plan_1": "Take two of these."}, {}):
        with pytest.raises(ValidationError):
            Report.read(json.dumps({**answer, **plan}), LINES)


def test_lines_come_in_the_order_of_the_recording() -> None:
    notes = [Note(index=1, lines=["b", "a"]), Note(index=0, lines=["a"])]
    assert Consultation(audio="x", folder="y", notes=notes).lines() == ["a", "b"]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_escapes_all_text_and_asks_no_network() -> None:
    evil = "<script>alert(1)</script> & <img src=http://x/>"
    visit = Consultation(
        audio=f"/tmp/{evil}.wav",
        folder="/tmp",
        transcript=[Passage(index=0, start_s=0, end_s=61, text=evil)],
        report=Report(complaint=[evil], history=[evil], medication=[evil], findings=[NOT_SAID], plan=[evil]),
        approval=Approval(approved=True, by=evil, remark=evil),
    )
    watch = Watch(processes=[{"pid": 1, "action": evil, "ended": evil}])
    tags = _Tags()
    tags.feed(report.render(visit, watch, watch.stages([])))

    assert not {"script", "img", "link", "iframe"} & set(tags.found)
    assert not tags.links
    assert "svg" in tags.found


def test_time_is_counted_once_where_visits_overlap() -> None:
    watch = Watch()
    for at, event, visit in [(0, "Started", "a"), (1, "Started", "b"), (3, "Finished", "a"), (4, "Finished", "b")]:
        watch.see({"event": f"Node{event}", "node": "summarise", "visit": visit, "at": float(at)})
    summarise = next(stage for stage in watch.stages([]) if stage.name == "summarise")
    assert summarise.spent.seconds == 4.0
    assert summarise.executions == 2


@pytest.mark.parametrize("module", [multipart, report])
def test_examples_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
