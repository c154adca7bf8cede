"""The execution of one node: input, body, retries, fallback, validated update."""

from __future__ import annotations

import os
import re
from random import Random
from typing import TYPE_CHECKING, Any

from vertebra.errors import LeaseLost, NodeFailed, ProviderRefused, StoreError, VertebraError
from vertebra.graphs.compilation import OUTBOX
from vertebra.nodes.kinds import NodeSpec, spec_of
from vertebra.nodes.question import Question
from vertebra.nodes.retry import Verdict, typed_cause
from vertebra.nodes.visit import Visit, current_visit, kept_before
from vertebra.ports import crash_point
from vertebra.runtime import effects, events
from vertebra.runtime.calling import invoke, within
from vertebra.runtime.delivering import deliver_latest, sealed
from vertebra.runtime.interrupts import answer_of, ask
from vertebra.runtime.place import Place
from vertebra.runtime.scope import Scope
from vertebra.runtime.siblings import belongs_to_langgraph

if TYPE_CHECKING:
    from vertebra.runtime.node_runner import NodeRunner


class Execution:
    """One node at one place, over all its attempts in this process.

    A fallback is an execution of its own, with its own retries: ``place_of`` is the node in whose place it
    stands, whose input it gets and whose routes it takes; ``cause`` is what that node failed with.
    """

    def __init__(
        self,
        runner: NodeRunner,
        scope: Scope,
        spec: NodeSpec,
        place: Place,
        key: str,
        state: Any,
        config: Any,
        *,
        place_of: NodeSpec | None = None,
        cause: Exception | None = None,
        tried: frozenset[str] = frozenset(),
    ) -> None:
        self._runner, self._scope, self._spec, self._place = runner, scope, spec, place
        self._key, self._state, self._config = key, state, config
        self._place_of = place_of or spec
        self._cause = cause
        self._tried = tried | {spec.name}
        self.attempt = 0
        self._fresh = 0
        self._random = Random()
        self._visit: Visit | None = None
        self._fields: tuple[str, ...] = ()

    @property
    def _at(self) -> tuple[str, str, int, str]:
        return self._scope.thread, self._spec.name, self._place.step, self._key

    async def run(self) -> dict[str, Any]:
        """Execute the node until it has a valid update. Raises a ``VertebraError``."""
        while True:
            self.attempt += 1
            self._scope.emit(events.NodeStarted(*self._at, self.attempt))
            crash_point("node.started")
            try:
                return await self._once()
            except Exception as error:
                if belongs_to_langgraph(error):
                    raise
                below = typed_cause(error)
                if isinstance(below, StoreError | LeaseLost):
                    # Not the node's failure: neither a retry nor a fallback could record anything.
                    raise below from below.__cause__
                if not await self._again(error):
                    return await self._stand_in(error)

    async def _once(self) -> dict[str, Any]:
        spec = self._spec
        visit = self._scope.visit(self._key, spec.name, self._place.step, self._place.namespace)
        self._visit = visit
        self._scope.specs[self._key] = spec
        self._scope.visits[self._key] = visit
        token = current_visit.set(visit)
        try:
            result = await within(spec.timeout_s, visit, self._body(visit))
            update = self._runner.update_of(self._place_of, result, self._state, self._scope.run_id)
        finally:
            current_visit.reset(token)
            visit.close()
        if visit.outbox and self._scope.memory_of is not None:
            update = {**update, OUTBOX: sealed(visit, self._scope.memory_of)}
        self._fields = tuple(sorted(name for name in update if not name.startswith("vertebra.")))
        return update

    async def _body(self, visit: Visit) -> Any:
        visit.enter_body()
        spec = self._spec
        given = self._runner.input_of(self._place_of, self._state)
        about: dict[str, Any] = {"attempt": self.attempt, "error": self._cause}
        if spec.kind == "subgraph":
            return await self._subgraph(spec, given)
        if spec.kind == "human":
            return await self._question(spec, visit, given)
        if spec.kind == "effect":
            return await self._effect(spec, visit, given, about)
        return await invoke(self._scope, spec, visit, (given,), config=self._config, **about)

    async def _effect(self, spec: NodeSpec, visit: Visit, given: Any, about: dict[str, Any]) -> Any:
        async def do(key: str) -> Any:
            return await invoke(self._scope, spec, visit, (given,), config=self._config, idempotency_key=key, **about)

        async def check(key: str) -> Any:
            assert spec.check is not None
            return await invoke(
                self._scope, spec_of(spec.check, "effect"), visit, (given,), idempotency_key=key, **about
            )

        return await effects.once(
            self._scope.door, visit, spec.name, given, do, check if spec.check is not None else None
        )

    async def _question(self, spec: NodeSpec, visit: Visit, given: Any) -> Any:
        asked = await invoke(self._scope, spec, visit, (given,), config=self._config)
        question = asked if isinstance(asked, Question) else Question(str(asked))
        answer = await ask(self._scope, spec, question)
        return {self._runner.answer_field(spec): answer_of(spec, answer)}

    async def _subgraph(self, spec: NodeSpec, given: Any) -> Any:
        from vertebra.runtime.subgraphs import run_subgraph

        if self._scope.memory_of is not None:
            await deliver_latest(self._scope.services, self._scope.thread, self._place.namespace)
        return await run_subgraph(self._runner.inner(spec.name), given, self._runner, self._config)

    async def _again(self, error: Exception) -> bool:
        """Whether to execute once more; if so, after the wait and under a new epoch where one is needed."""
        verdict = self._spec.retry.verdict(error, self.attempt)
        visit = self._visit
        if verdict is Verdict.FRESH and (visit is None or not visit.finished):
            verdict = Verdict.STOP  # no answer was taken in this execution, so none can be to blame
        if verdict is Verdict.STOP:
            return False
        reason = f"{type(error).__name__}"
        if verdict is Verdict.FRESH:
            assert visit is not None
            kept = kept_before(visit.finished, self._fresh)
            await self._scope.journal.advance_epoch(self._scope.thread, self._key, kept, reason)
            self._fresh += 1
            crash_point("epoch.advanced")
        wait_s = self._spec.retry.wait_s(self.attempt, self._random)
        self._scope.emit(
            events.NodeRetried(*self._at, self.attempt, wait_s, verdict is Verdict.FRESH, f"{reason}: {error}")
        )
        crash_point("node.retry")
        await self._scope.services.clock.sleep(wait_s)
        return True

    async def _stand_in(self, error: Exception) -> dict[str, Any]:
        """Let the fallback node take this node's place, or raise the error as ours."""
        typed = as_node_error(error, self._spec.name)
        fallback = self._spec.fallback
        if fallback is None or fallback in self._tried:
            raise typed from (error if typed is not error else error.__cause__)
        self._scope.emit(events.NodeFailed(*self._at, typed, fallback))
        path, _, tail = self._key.partition("~")
        stand_in = Execution(
            *(self._runner, self._scope, self._runner.spec(fallback), self._place),
            f"{path}!{fallback}" + (f"~{tail}" if tail else ""),
            *(self._state, self._config),
            place_of=self._place_of,
            cause=error,
            tried=self._tried,
        )
        try:
            return await stand_in.run()
        finally:
            self._visit, self._fields = stand_in._visit, stand_in._fields

    def report(self, outcome: str, failure: VertebraError | None, seconds: float) -> None:
        visit = self._visit
        if outcome == "skipped":
            self._scope.emit(events.NodeSkipped(*self._at))
        elif outcome == "done":
            unused = len(visit.recorded - visit.inherited - set(visit.finished)) if visit else 0
            if visit is not None and unused and visit.asked_anew:
                self._scope.emit(events.RequestsDiffer(*self._at, unused, visit.asked_anew))
            self._scope.emit(events.NodeFinished(*self._at, seconds, self._fields))
        elif outcome == "failed" and failure is not None:
            self._scope.emit(events.NodeFailed(*self._at, failure))


def as_node_error(error: Exception, node: str) -> VertebraError:
    """The error as ours: itself, the one that a client wrapped, or one that says what the node raised."""
    if isinstance(error, VertebraError):
        return error
    typed = typed_cause(error)
    if typed is not None:
        return typed
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        hint = " OPENAI_API_KEY is not set or not accepted." if status == 401 else ""
        said = redacted(str(getattr(error, "message", error)))
        return ProviderRefused(
            f"Node {node!r}: the provider answered {status}.{hint} It said: {said[:500]}", node=node, status=status
        )
    said = redacted(str(error))
    return NodeFailed(f"Node {node!r} raised {type(error).__name__}: {said}.", node=node, raised=type(error).__name__)


def redacted(text: str) -> str:
    """The text without API keys: neither the one in use nor what looks like one."""
    key = os.environ.get("OPENAI_API_KEY", "")
    if len(key) >= 8:
        text = text.replace(key, "[key]")
    return _KEY.sub("[key]", text)


_KEY = re.compile(r"(?i)\b(?:sk|key|pk|rk)-[\w*.-]{6,}|(?<=bearer )[\w.~+/=-]{8,}")
