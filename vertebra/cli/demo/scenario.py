"""The order of events: models, run, kill, recovery, approval, report. Each step in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vertebra.cli.demo.closing import print_table
from vertebra.cli.demo.errors import DemoFailed
from vertebra.cli.demo.processes import Event, Process, start_provider
from vertebra.cli.demo.progress import Progress
from vertebra.cli.demo.story import Stage, Watch, to_json, total
from vertebra.runtime.outcome import stored_error
from vertebra.types import CallRecord

KILL_AFTER_TOKENS = 12
"""Late enough to be in the middle of the stream, early enough for providers that send large pieces."""
KILL_IN = "draft"

Ask = Callable[[str, dict[str, list[str]]], dict[str, Any] | None]


@dataclass
class Scenario:
    """One performance of the demo. ``provider`` holds models by task, or None for the local ones."""

    recording: Path
    folder: Path
    thread: str
    provider: dict[str, str] | None
    kill: bool
    ask: Ask | None
    progress: Progress
    watch: Watch = field(default_factory=Watch)
    environment: dict[str, str] = field(default_factory=dict)
    question: Event = field(default_factory=dict)

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'visits.db'}"

    def play(self) -> dict[str, Any]:
        """All of it. Raises a ``VertebraError``; every process has ended when this returns or raises."""
        from vertebra.cli.demo.engines import require_models
        from vertebra.cli.demo.recording import blocks

        next(blocks(self.recording))  # a file that cannot be read is told before anything is started
        if self.provider is None:
            require_models()
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            models = self._models(stack)
            with self.progress:
                self._run(models)
            answer = self._decide()
            with self.progress:
                self._drive("answer", answer, models)
        return self._close(answer)

    def _models(self, stack: ExitStack) -> dict[str, str]:
        self.progress.say(f"Recording: {self.recording}", "bold")
        if self.provider is not None:
            where = os.environ.get("OPENAI_BASE_URL") or "OpenAI"
            # Servers of one's own often want no key, but the client wants one.
            self.environment = {"OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY") or "none"}
            self.progress.say(f"Provider: {where} ({', '.join(sorted(set(self.provider.values())))})")
            return self.provider
        self.progress.say("Starting the local models: Whisper tiny.en and SmolLM2 135M, on this machine ...")
        process, ready = start_provider(self.folder)
        stack.enter_context(process)
        self.environment = {"OPENAI_BASE_URL": ready["base_url"], "OPENAI_API_KEY": "local"}
        self.progress.say(f"Ready after {ready['ready_s']} s at {ready['base_url']} (process {process.pid}).")
        chat = ready["chat_model"]
        return {"transcribe": ready["speech_model"], "summarise": chat, "draft": chat}

    def _run(self, models: dict[str, str]) -> None:
        """Start, and if it is killed, recover. Ends with a question waiting."""
        given = {"audio": str(self.recording), "folder": str(self.folder)}
        if self._drive("start", given, models) is None:
            self.progress.say("  another process recovers the run ...", "bold")
            self._drive("recover", {}, models)

    def _drive(self, action: str, given: dict[str, Any], models: dict[str, str]) -> Event | None:
        """One process, to its end: its last event, or None if it was killed. Raises the run's error."""
        arguments = [action, "--database", self.database, "--thread", self.thread]
        arguments += ["--given", json.dumps(given), "--models", json.dumps(models)]
        with Process("vertebra.cli.demo.worker", arguments, self.folder / "runs.log", self.environment) as process:
            for event in process.events():
                self.watch.see(event)
                self.progress.see(event)
                if event["event"] == "Asked":
                    self.question = event
                elif event["event"] == "RunEnded":
                    self.watch.ended(event["at"], event["status"])
                    error = stored_error(event["error"])
                    if error is not None:
                        raise error
                    process.wait()
                    return event
                elif self._is_time_to_kill(event):
                    self._kill(process)
                    return None
            status = process.wait()
        raise DemoFailed(f"The run's process ended with status {status}: {process.last_words() or 'no word'}")

    def _is_time_to_kill(self, event: Event) -> bool:
        return (
            self.kill
            and self.watch.killed_at is None
            and event["event"] == "Token"
            and event["node"] == KILL_IN
            and self.watch.streamed.get(KILL_IN, 0) >= KILL_AFTER_TOKENS
        )

    def _kill(self, process: Process) -> None:
        status = process.kill()
        self.watch.killed(time.time(), KILL_IN)
        self.progress.killed(KILL_IN)
        self.progress.say(
            f"  KILLED process {process.pid} in the middle of the draft's stream (SIGKILL, exit status {status})",
            "bold red",
        )

    def _decide(self) -> dict[str, Any]:
        """The answer of a person, or the demo's own where there is none."""
        answer = self.ask(self.question["text"], self.question["data"]) if self.ask is not None else None
        if answer is None:
            why = "there is no terminal to ask at" if self.ask is not None else "--yes was given"
            self.progress.say(f"The demo approves the draft itself: {why}.", "yellow")
            answer = {"approved": True, "by": "the demo, by itself", "remark": why}
        return answer

    def _close(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The page with the figures, the table, and the outcome as plain data."""
        calls, values = asyncio.run(self._look_up())
        stages = self.watch.stages(calls)
        books = self._check_books(stages)
        console = self.progress.console
        console.print()
        print_table(console, stages, killed=self.watch.killed_at is not None)
        if books:
            self.progress.say(books)
        if self.kill and self.watch.killed_at is None:
            self.progress.say("The draft was over before it could be killed: the provider is too quick.", "yellow")
        files = values.delivered
        if files:
            from vertebra.cli.demo.audio import write_atomically
            from vertebra.cli.demo.report import render

            write_atomically(self.folder / "report.html", render(values, self.watch, stages).encode())
        else:
            self.progress.say("The draft was declined, so no report was written.", "yellow")
        for file in files:
            self.progress.say(f"Written: {file}", "green")
        return {
            "status": "done",
            "approved": bool(answer["approved"]),
            "thread": self.thread,
            "database": self.database,
            "files": files,
            "killed_in": self.watch.killed_in,
            "processes": self.watch.processes,
            "stages": to_json(stages),
            "books": books,
            "report": values.report.model_dump() if values.report else None,
        }

    async def _look_up(self) -> tuple[Sequence[CallRecord], Any]:
        from vertebra.cli.demo.graph import scribe

        async with scribe().compile(checkpointer=self.database) as app:
            state = await app.status(self.thread)
            return await app.services.store.journal.calls(self.thread), state.output

    def _check_books(self, stages: Sequence[Stage]) -> str | None:
        """What the local provider's own books say, beside the journal."""
        from vertebra.testing.books import Books

        if self.provider is not None:
            return None
        paid = Books.read(self.folder / "provider-books.jsonl").paid()
        broken = sum(not entry.delivered for entry in paid)
        same = len(paid) == total(stages, "spent").calls
        verdict = "as the journal says" if same else "which is not what the journal says"
        return f"The provider's own books: {len(paid)} answers begun, {broken} of them broken off, {verdict}."
