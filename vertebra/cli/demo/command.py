"""``vertebra demo``: a recording goes in, the process is killed in the middle, and a report comes out."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from vertebra.errors import VertebraError

EXIT_FAILED = 1
EXIT_STOPPED = 130


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``demo`` to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="a consultation becomes a report, though the process is killed in the middle",
        description=(
            "Cuts a recorded consultation at its silences, transcribes and summarises it in parallel, drafts a report, "
            "asks a person to approve it, and writes it as JSON and as a page. During the draft the process is killed "
            "for real (SIGKILL) and another one recovers the run. Local models do the work, unless OPENAI_API_KEY or "
            "OPENAI_BASE_URL is set."
        ),
    )
    parser.add_argument("recording", nargs="?", help="a WAV file, or anything FFmpeg reads (default: the sample)")
    parser.add_argument("--no-kill", action="store_true", help="let the run go through undisturbed")
    parser.add_argument("--yes", action="store_true", help="approve the draft without asking")
    parser.add_argument("--out", default="demo-run", help="folder for everything that is written (default: demo-run)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON; progress goes to stderr")
    parser.add_argument("--local", action="store_true", help="use the local models even if OPENAI_* is set")
    parser.add_argument("--model", default="gpt-5-mini", help="for text, at your provider (default: %(default)s)")
    parser.add_argument(
        "--speech-model",
        default="gpt-4o-mini-transcribe",
        help="for speech, at your provider (default: %(default)s)",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0, 1 when it failed or the draft was declined, 130 after Ctrl-C."""
    from vertebra.cli.demo.progress import Progress
    from vertebra.cli.demo.scenario import Scenario

    progress = Progress(sys.stderr if args.json else sys.stdout)
    try:
        scenario = Scenario(
            recording=Path(args.recording).resolve() if args.recording else sample(),
            folder=Path(args.out).resolve(),
            thread=f"visit-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}",
            provider=chosen_models(args),
            kill=not args.no_kill,
            ask=None if args.yes else ask_person,
            progress=progress,
        )
        outcome = scenario.play()
    except KeyboardInterrupt:
        progress.say("Stopped: all processes of the demo have ended. What was done is kept in " + args.out + ".")
        return EXIT_STOPPED
    except VertebraError as error:
        if args.json:
            print(json.dumps({"status": "failed", "error": error.to_json()}, indent=2))
        progress.say(f"{error.message}", "bold red")
        if error.remedy:
            progress.say(f"To go on: {error.remedy}")
        return EXIT_FAILED
    if args.json:
        print(json.dumps(outcome, indent=2, ensure_ascii=False))
    return 0 if outcome["status"] == "done" and outcome["approved"] else EXIT_FAILED


def chosen_models(args: argparse.Namespace) -> dict[str, str] | None:
    """The model of each task at the user's own provider, or None for the local models."""
    if args.local or not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        return None
    return {"transcribe": args.speech_model, "summarise": args.model, "draft": args.model}


def sample() -> Path:
    """The sample recording: in an installed package beside this file, in a checkout among the examples."""
    from vertebra.cli.demo.errors import AudioMissing

    here = Path(__file__).resolve().parent
    for path in (here / "consultation.wav", here.parents[2] / "examples" / "consultation.wav"):
        if path.exists():
            return path
    raise AudioMissing("The sample recording is not installed.", remedy="give a recording: vertebra demo path.wav")


def ask_person(question: str, draft: dict[str, list[str]]) -> dict[str, Any] | None:
    """Show the draft to whoever sits at the terminal and take the decision; None where nobody does."""
    from vertebra.cli.demo.progress import can_ask, console_for

    if not can_ask():
        return None
    console = console_for(sys.stderr)
    console.print()
    for section, lines in draft.items():
        console.print(f"  {section.capitalize()}", style="bold")
        for line in lines:
            console.print(f"    {line}")
    console.print(f"\n{question} [y/n, and a remark if you like] ", style="bold", end="")
    try:
        answer = input().strip()
    except EOFError:
        return None
    word, _, remark = answer.partition(" ")
    return {"approved": word.lower() in ("y", "yes", "ja", "oui", "ok"), "by": "you", "remark": remark.strip(" ,")}
