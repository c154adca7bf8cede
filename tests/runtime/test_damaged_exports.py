"""Exports that no export has written so: ``UsageError`` that says what is missing or broken, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.runtime.test_recovering import two_questions
from vertebra.errors import UsageError

Damage = Callable[[dict[str, Any]], Any]


def _set(*path: str | int, to: Any) -> Damage:
    def damage(data: dict[str, Any]) -> Any:
        at: Any = data
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = to
        return data

    return damage


def _without(*path: str | int) -> Damage:
    def damage(data: dict[str, Any]) -> Any:
        at: Any = data
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]
        return data

    return damage


CASES: dict[str, tuple[Damage, str]] = {
    "a list": (lambda _: [], "no recorded thread of format 1"),
    "nothing": (lambda _: {}, "no recorded thread of format 1"),
    "no answers": (_without("answers"), "it has no answers"),
    "no calls": (_without("calls"), "it has no calls"),
    "answers of no list": (_set("answers", to={}), "answers is no list"),
    "no checkpoints": (_set("checkpoints", to=None), "it has no checkpoints"),
    "no thread": (_without("thread"), "it has no thread"),
    "no fingerprint": (_without("thread", "fingerprint"), "thread has no fingerprint"),
    "no shape": (_set("thread", "shape", to=None), "thread.shape is not what it should be"),
    "a broken row": (_set("answers", 0, to={"x": 1}), r"answers\[0\] has no interrupt_id"),
    "no row": (_set("answers", 0, to=7), r"answers\[0\] is no object"),
    "a value of no kind": (_set("answers", 0, "answer", to={"hex": "00"}), r"answers\[0\].answer is neither"),
    "a list as a value": (_set("answers", 0, "answer", to=[1]), r"answers\[0\].answer is neither"),
    "a broken answer": (_set("answers", 0, "answer", to="{secret"), "answers"),
    "no metadata": (_set("checkpoints", 0, "metadata", to=None), r"checkpoints\[0\].metadata is not what"),
    "a step of no number": (_set("checkpoints", 1, "metadata", "step", to="secret"), r"\[1\].metadata.step is no"),
    "state of no base64": (_set("checkpoints", 0, "state", to="msgpack:secret"), r"checkpoints\[0\].state cannot be"),
    "state of no MessagePack": (_set("checkpoints", 0, "state", to="msgpack:wQ=="), r"checkpoints\[0\].state cannot"),
    "state of no kind": (_set("checkpoints", 0, "state", to="secret:wQ=="), r"checkpoints\[0\].state cannot be read"),
    "state that is a number": (_set("checkpoints", 0, "state", to="msgpack:BQ=="), r"checkpoints\[0\].state is no"),
    "writes of no list": (_set("checkpoints", 0, "writes", to=3), r"checkpoints\[0\].writes is no list"),
    "a broken write": (_set("checkpoints", 0, "writes", 0, to=["secret"]), r"checkpoints\[0\].writes\[0\] is not"),
}


@pytest.fixture(scope="module")
def exported() -> str:
    with two_questions().compile(checkpointer="memory://") as app:
        run = app.run_sync({}, thread_id="t")
        for interrupt in run.interrupts:
            app.resume_sync("t", True, interrupt_id=interrupt.id)
        assert app.verify_sync(app.export_sync("t")).ok
        return json.dumps(app.export_sync("t"))


@pytest.mark.parametrize("name", list(CASES))
def test_a_damaged_export_is_told(exported: str, name: str) -> None:
    damage, match = CASES[name]
    with two_questions().compile(checkpointer="memory://") as app:
        with pytest.raises(UsageError, match=match) as told:
            app.verify_sync(damage(json.loads(exported)))
    assert "secret" not in str(told.value)


def test_what_a_later_release_adds_is_left_alone(exported: str) -> None:
    with two_questions().compile(checkpointer="memory://") as app:
        assert app.verify_sync({**json.loads(exported), "more": 3}).ok
