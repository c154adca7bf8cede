"""Killing the twin in plain LangGraph, and counting what it pays."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.campaigns.inspection import plain
from tests.campaigns.killing import Outcome, Pace
from tests.campaigns.reference import script
from tests.campaigns.verdict import UNKILLED_ATTEMPTS, Figures
from tests.campaigns.witness import Witness
from tests.servers.preloaded import Crash, Ended, Preloaded
from vertebra.testing import ScriptedModel


class TwinKiller:
    """Kills the twin's runs under one of LangGraph's durabilities; nothing is asserted of them, only counted."""

    def __init__(self, parent: Preloaded, durability: str) -> None:
        self._parent, self._durability = parent, durability
        with ScriptedModel(sampled=True) as model, tempfile.TemporaryDirectory() as folder:
            script(model)
            ended = self._run("counted", folder, model)
            self.ideal = len(model.books.paid())
        self._pace = Pace(self._undisturbed)
        self.passed: dict[str, int] = ended.result["passed"]
        self._end: Any = plain(ended.result["state"])

    def _undisturbed(self) -> float:
        with ScriptedModel(sampled=True) as model, tempfile.TemporaryDirectory() as folder:
            script(model)
            return self._run("start", folder, model).seconds

    def _run(self, job: str, folder: str, model: ScriptedModel, crash: Crash | None = None) -> Ended:
        args = {"folder": folder, "durability": self._durability}
        return self._parent.run(f"tests.campaigns.twin:{job}", args, env=model.env(), crash=crash)

    def kill(self, crash: Crash) -> Outcome:
        """Let one process die as planned and another go on."""
        with ScriptedModel(sampled=True) as model, tempfile.TemporaryDirectory() as folder:
            script(model)
            first = self._run("start", folder, model, self._pace.timed(crash))
            second = self._run("start", folder, model)
            attempts = len(Witness(Path(folder)).read("effects"))
            figures = Figures(paid=len(model.books.paid()), effects_repeated=max(0, attempts - UNKILLED_ATTEMPTS))
            return Outcome(int(first.died), 2, figures, is_same_end=plain(second.result) == self._end)
