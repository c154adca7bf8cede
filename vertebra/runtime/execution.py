"""The execution of one node: input, body, retries, fallback, validated update."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from vertebra.errors import NodeFailed, ProviderRefused, VertebraError
from vertebra.nodes.kinds import NodeSpec, spec_of
from vertebra.nodes.question import Question
from vertebra.nodes.retry import Verdict, typed_cause
from vertebra.nodes.visit import Visit, current_visit, kept_before
from vertebra.ports import crash_point
from vertebra.runtime import effects, events
from vertebra.runtime.calling import invoke, within
from vertebra.runtime.interrupts import answer_of, ask
from vertebra.runtime.place import Place
from vertebra.runtime.scope import Scope
from vertebra.runtime.siblings import belongs_to_langgraph

if TYPE_CHECKING:
    from vertebra.runtime.node_runner import NodeRunner


class Execution:
    """One node at one place, over all its attempts in this process."""

    def __init__(
        self, runner: NodeRunner, scope: Scope, spec: NodeSpec, place: Place, key: str, state: Any, config: Any
    ) -> None:
        self._runner, self._scope, self._spec, self._place = runner, scope, spec, place
        self._key, self._state, self._config = key, state, config
        self.attempt = 0
        self._fresh = 0
        self._random = Random()
        self._visit: Visit | None = None
        self._fields: tuple[str, ...] = ()

    @property
    def _at(self) -> tuple[str, str, int, str]:
        return self._scope.thread, self._spec.name, self._place.step, self._key

    async def run(self) -> dict[str, Any]:
        while True:
            self.attempt += 1
            self._scope.emit(events.NodeStarted(*self._at, self.attempt))
            crash_point("node.started")
            try:
                return await self._once(self._spec, self._key)
            except Exception as error:
                if belongs_to_langgraph(error):
                    raise
                if not await self._again(error):
                    return await self._stand_in(error)

    async def _once(self, spec: NodeSpec, key: str, cause: BaseException | None = None) -> dict[str, Any]:
        visit = Visit(
            *(self._scope.thread, key, spec.name, self._place.step, self._scope.run_id, self._place.namespace),
            observer=self._scope.observe,
        )
        self._visit = visit
        self._scope.specs[key] = spec
        self._scope.visits[key] = visit
        token = current_visit.set(visit)
        try:
            body = self._body(spec, visit, cause)
            result = await within(spec.timeout_s, visit, body)
            update = self._runner.update_of(self._spec, result, self._state, self._scope.run_id)
        finally:
            current_visit.reset(token)
            visit.close()
        self._fields = tuple(sorted(name for name in update if not name.startswith("vertebra.")))
        return update

    async def _body(self, spec: NodeSpec, visit: Visit, cause: BaseException | None) -> Any:
        visit.enter_body()
        given = self._runner.input_of(self._spec, self._state)
        about: dict[str, Any] = {"attempt": self.attempt, "error": cause}
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
            await self._scope.services.store.journal.advance_epoch(self._scope.thread, self._key, kept, reason)
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
        if self._spec.fallback is None:
            raise typed from (error if typed is not error else error.__cause__)
        self._scope.emit(events.NodeFailed(*self._at, typed, self._spec.fallback))
        stand_in = self._runner.spec(self._spec.fallback)
        path, _, tail = self._key.partition("~")
        key = f"{path}!{stand_in.name}" + (f"~{tail}" if tail else "")
        try:
            return await self._once(stand_in, key, cause=error)
        except Exception as second:
            if belongs_to_langgraph(second):
                raise
            failed = as_node_error(second, stand_in.name)
            raise failed from (second if failed is not second else second.__cause__)

    def report(self, outcome: str, failure: VertebraError | None, seconds: float) -> None:
        visit = self._visit
        if outcome == "skipped":
            self._scope.emit(events.NodeSkipped(*self._at))
        elif outcome == "done":
            unused = len((visit.recorded if visit else frozenset()) - set(visit.finished if visit else ()))
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
        return ProviderRefused(f"Node {node!r}: the provider answered {status}.{hint}", node=node, status=status)
    return NodeFailed(f"Node {node!r} raised {type(error).__name__}: {error}.", node=node, raised=type(error).__name__)
