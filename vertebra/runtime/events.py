"""What one can listen to while a run goes on: typed, frozen, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vertebra.errors import VertebraError
from vertebra.types import CallSource, Interrupt, Run


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a thread."""

    thread: str


@dataclass(frozen=True, slots=True)
class EdgeCrossed(Event):
    """A checkpoint is durable: the run can be resumed from here. ``nodes`` have finished before it."""

    step: int
    checkpoint_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeEvent(Event):
    node: str
    step: int
    visit: str


@dataclass(frozen=True, slots=True)
class NodeStarted(NodeEvent):
    attempt: int


@dataclass(frozen=True, slots=True)
class NodeFinished(NodeEvent):
    seconds: float
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeRetried(NodeEvent):
    """The node is executed again after ``wait_s``; ``fresh``: its answer is sampled anew."""

    attempt: int
    wait_s: float
    fresh: bool
    reason: str


@dataclass(frozen=True, slots=True)
class NodeFailed(NodeEvent):
    error: VertebraError
    stand_in: str | None = None
    """The fallback node that takes over, if one is declared."""


@dataclass(frozen=True, slots=True)
class NodeSkipped(NodeEvent):
    """The node was not executed: a person put an output in its place."""


@dataclass(frozen=True, slots=True)
class CallFinished(NodeEvent):
    """A call was answered, by the provider or from the journal."""

    endpoint: str
    model: str | None
    source: CallSource
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class RequestsDiffer(NodeEvent):
    """Executed again, a node made other requests than before: recorded answers went unused."""

    unused: int
    new: int


@dataclass(frozen=True, slots=True)
class Token(NodeEvent):
    """A piece of a model's answer, as it streams."""

    text: str


@dataclass(frozen=True, slots=True)
class Custom(NodeEvent):
    """What a node passed to ``ctx.emit``."""

    payload: Any


@dataclass(frozen=True, slots=True)
class Asked(Event):
    """The run waits for an answer to this interrupt."""

    interrupt: Interrupt


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """The last event: the run as it stands."""

    run: Run
