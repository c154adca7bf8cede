"""The steps of a thread, each with what it changed in the state: to be read, and to be looked at in a notebook."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from vertebra.runtime.app import App

SHOWN = 400
"""Of a longer value the rest is left out where it is shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of the state, before and after a step; None where it had no value."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One durable edge: which nodes ran, what that changed, and what comes next."""

    step: int
    checkpoint_id: str
    nodes: tuple[str, ...]
    next: tuple[str, ...]
    changes: tuple[Change, ...]


class Steps(Sequence[Step]):
    """The steps of a thread, oldest first. In a notebook each can be opened; printed, it is a line each."""

    def __init__(self, thread_id: str, steps: Sequence[Step]) -> None:
        self.thread_id = thread_id
        self._steps = tuple(steps)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        return self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)

    def __str__(self) -> str:
        return "\n".join(line for step in self for line in _lines(step))

    def __repr__(self) -> str:
        return f"<Steps of thread {self.thread_id!r}: {len(self)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/html": "".join(map(_html, self)), "text/plain": str(self)}


class Reader:
    """Reads the steps of threads for the runs of an app, for as long as somebody else keeps that app."""

    def __init__(self, app: App) -> None:
        self._app = weakref.ref(app)

    def steps(self, thread: str) -> Steps | None:
        """None where the app has gone."""
        app = self._app()
        return None if app is None else app.steps_sync(thread)

    def __reduce__(self) -> Any:
        return _nobody, ()


def _nobody() -> None:
    """What is left of a reader in a copy."""


async def steps_of(app: App, thread: str) -> Steps:
    """What ``App.steps`` does."""
    await app.services.store.runs.require(thread)
    snapshots = [snapshot async for snapshot in app.history(thread)][::-1]
    found, before, due = [], dict[str, Any](), tuple[str, ...]()
    for snapshot in snapshots:
        values = dict(snapshot.values) if isinstance(snapshot.values, Mapping) else {"state": snapshot.values}
        names = [name for name in {**before, **values} if before.get(name) != values.get(name)]
        changes = tuple(Change(name, before.get(name), values.get(name)) for name in names)
        ran = due if (snapshot.metadata or {}).get("source") == "loop" else ()
        found.append(
            Step(
                int((snapshot.metadata or {}).get("step", -1)),
                snapshot.config["configurable"]["checkpoint_id"],
                ran,
                tuple(snapshot.next),
                changes,
            )
        )
        before, due = values, tuple(dict.fromkeys(snapshot.next))
    return Steps(thread, found)


def _title(step: Step) -> str:
    ran, after = (", ".join(names).replace("__start__", "START") for names in (step.nodes, dict.fromkeys(step.next)))
    return f"{step.step:>3}  {ran or 'input'} → {after or 'END'}"


def _lines(step: Step) -> Iterator[str]:
    yield _title(step)
    for change in step.changes:
        for sign, value in (("-", change.before), ("+", change.after)):
            if value is not None:
                yield f"     {sign} {change.field}: {_text(value, 100)}"


def _html(step: Step) -> str:
    rows = "".join(
        f"<tr><td><b>{escape(change.field)}</b></td><td><del>{escape(_text(change.before))}</del></td>"
        f"<td><ins>{escape(_text(change.after))}</ins></td></tr>"
        for change in step.changes
    )
    table = f"<table><tr><th>field</th><th>before</th><th>after</th></tr>{rows}</table>" if rows else "<p>nothing</p>"
    return f"<details><summary><code>{escape(_title(step))}</code></summary>{table}</details>"


def _text(value: Any, longest: int = SHOWN) -> str:
    if value is None:
        return ""
    from pydantic_core import to_json

    text = json.dumps(json.loads(to_json(value, fallback=str, bytes_mode="base64")), ensure_ascii=False)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


__all__ = ["Change", "Reader", "Step", "Steps", "steps_of"]
