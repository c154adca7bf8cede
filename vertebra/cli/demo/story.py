"""What happened, stage by stage: from the events of each process and the journal to the closing table. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from vertebra.types import CallRecord

STAGES: tuple[tuple[str, str], ...] = (
    ("cut", "effect"),
    ("transcribe", "llm"),
    ("collate", "transition"),
    ("summarise", "llm"),
    ("draft", "llm"),
    ("approve", "human"),
    ("deliver", "effect"),
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls, tokens and seconds."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.calls + other.calls, self.tokens + other.tokens, self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class Stage:
    """One node of the graph. ``spent`` is what was really paid, ``plain`` what starting over would have cost."""

    name: str
    kind: str
    spent: Spent
    plain: Spent
    from_journal: int = 0
    kept: int = 0
    """Calls of executions that had ended before the kill: their results were in the state."""
    broken_off: int = 0
    """Calls in flight when the process died: the provider has worked, and nobody has the answer."""
    executions: int = 0
    killed: bool = False


@dataclass
class Watch:
    """Follows a run through the processes that drive it."""

    killed_at: float | None = None
    killed_in: str | None = None
    processes: list[dict[str, Any]] = field(default_factory=list)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    """Stage, from, to (Unix seconds)."""
    executions: dict[str, int] = field(default_factory=dict)
    streamed: dict[str, int] = field(default_factory=dict)
    """Pieces of text streamed by each stage since its last call ended."""
    streamed_until_kill: int = 0
    _open: dict[str, tuple[str, float]] = field(default_factory=dict)

    def see(self, event: dict[str, Any]) -> None:
        """Take in one event of the process that is driving."""
        node, at = event.get("node", ""), float(event["at"])
        match event["event"]:
            case "Process":
                self.processes.append({"pid": event["pid"], "action": event["action"], "ended": None})
            case "NodeStarted":
                self.executions[node] = self.executions.get(node, 0) + 1
                self._open[event["visit"]] = (node, at)
            case "NodeFinished":
                self._close(event["visit"], at)
            case "Token":
                self.streamed[node] = self.streamed.get(node, 0) + 1
            case "CallFinished":
                self.streamed.pop(node, None)

    def ended(self, at: float, how: str) -> None:
        """The process is gone, and whatever it was doing."""
        for visit in list(self._open):
            self._close(visit, at)
        if self.processes:
            self.processes[-1]["ended"] = how

    def killed(self, at: float, node: str) -> None:
        """The process was killed while ``node`` was streaming."""
        self.killed_at, self.killed_in = at, node
        self.streamed_until_kill = self.streamed.pop(node, 0)
        self.ended(at, "killed (SIGKILL)")

    def _close(self, visit: str, at: float) -> None:
        node, since = self._open.pop(visit, ("", at))
        if node:
            self.spans.append((node, since, at))

    def stages(self, calls: Iterable[CallRecord]) -> list[Stage]:
        """The table: one row for each node of the graph."""
        by_node: dict[str, list[CallRecord]] = {}
        for call in calls:
            by_node.setdefault(call.node, []).append(call)
        return [self._stage(name, kind, by_node.get(name, [])) for name, kind in STAGES]

    def _stage(self, name: str, kind: str, calls: list[CallRecord]) -> Stage:
        done = [call for call in calls if call.status == "done"]
        broken = sum(call.lost for call in calls)
        # A call that was broken off had its prompt read, and brought what was streamed.
        wasted = sum(_input(call) for call in calls if call.lost) + (
            self.streamed_until_kill if name == self.killed_in else 0
        )
        whole = Spent(len(done), sum(map(_tokens, done)))
        seconds = _covered([(a, b) for node, a, b in self.spans if node == name])
        replayed = sum(call.replays for call in calls)
        spent = Spent(len(done) + broken, whole.tokens + wasted, seconds)
        if self.killed_at is None:
            return Stage(name, kind, spent, spent, executions=self.executions.get(name, 0))
        before = [c for c in done if c.finished_at is not None and c.finished_at < self.killed_at]
        time_before = _covered([(a, b) for node, a, b in self.spans if node == name and b <= self.killed_at])
        lost = Spent(len(before) + broken, sum(map(_tokens, before)) + wasted, time_before)
        # Starting over does all of a stage again: also what the journal answered, for which no time passed here.
        after = seconds - time_before
        saved = sum(c.finished_at - c.started_at for c in before if c.replays and c.finished_at is not None)
        plain = lost + Spent(whole.calls, whole.tokens, after + saved if after else time_before)
        return Stage(
            *(name, kind, spent, plain),
            from_journal=replayed,
            kept=max(0, len(before) - replayed),
            broken_off=broken,
            executions=self.executions.get(name, 0),
            killed=name == self.killed_in,
        )


def _input(call: CallRecord) -> int:
    return (call.answer.input_tokens or 0) if call.answer else 0


def _tokens(call: CallRecord) -> int:
    return _input(call) + ((call.answer.output_tokens or 0) if call.answer else 0)


def _covered(spans: list[tuple[float, float]]) -> float:
    """Seconds covered by spans that may overlap."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        if end > until:
            total += end - max(start, until)
            until = end
    return total


def total(stages: Iterable[Stage], what: str) -> Spent:
    """The sum of ``spent`` or ``plain``; effects are writes, not calls to a model."""
    found = Spent()
    for stage in stages:
        part: Spent = getattr(stage, what)
        found += part if stage.kind == "llm" else Spent(0, 0, part.seconds)
    return found


def to_json(stages: Iterable[Stage]) -> list[dict[str, Any]]:
    return [asdict(stage) for stage in stages]
