"""The execution of one node: input, body, retries, validation, route. The wrapper that LangGraph calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import ValidationError

from vertebra.errors import InvalidInput, InvalidUpdate, NodeFailed, ProviderRefused, VertebraError
from vertebra.graphs.checks import fields_of_type
from vertebra.graphs.compilation import ENTRY, INDEX, ITEM, LOOPS
from vertebra.graphs.definition import Definition
from vertebra.graphs.routing import Routing
from vertebra.graphs.state import summary
from vertebra.nodes.kinds import NodeSpec
from vertebra.nodes.question import Question
from vertebra.nodes.retry import Verdict, typed_cause
from vertebra.nodes.visit import Visit, current_visit, kept_before, visit_key
from vertebra.ports import crash_point
from vertebra.runtime import effects, events
from vertebra.runtime.calling import invoke, within
from vertebra.runtime.interrupts import answer_of, ask
from vertebra.runtime.scope import Scope, require_scope, send_index
from vertebra.runtime.siblings import Superstep, belongs_to_langgraph
from vertebra.types import VisitRecord


@dataclass(frozen=True)
class Place:
    """Where in a run a node is being executed, from LangGraph's config."""

    node: str
    step: int
    namespace: str
    index: int | None

    @classmethod
    def of(cls, config: Mapping[str, Any], node: str) -> Place:
        metadata = config["metadata"]
        return cls(
            node,
            int(metadata["langgraph_step"]),
            str(metadata.get("langgraph_checkpoint_ns", "")),
            send_index(metadata.get("langgraph_path")),
        )

    @property
    def loop(self) -> str:
        """The checkpoint namespace of the LangGraph loop that runs the node."""
        return self.namespace.rpartition("|")[0]

    @property
    def superstep(self) -> Superstep:
        return self.loop, self.step

    @property
    def task_id(self) -> str:
        return self.namespace.rpartition("|")[2].rpartition(":")[2]


class NodeRunner:
    """Executes the nodes of one definition."""

    def __init__(self, definition: Definition, inner: Mapping[str, Any]) -> None:
        self._definition = definition
        self.schema = definition.schema
        self._routing = Routing(definition)
        self._inner = inner
        self._workers = {fan.worker for fan in definition.fan_outs}

    def wrap(self, name: str) -> Callable[..., Any]:
        """The async function that LangGraph runs as node ``name``."""
        if name == ENTRY:
            return self._entry

        async def run_node(state: Any, config: Any) -> Any:
            place = Place.of(config, name)
            async with require_scope().siblings.one_of(place.superstep):
                return await self.execute(self._definition.nodes[name], place, state, config)

        from langchain_core.runnables import RunnableConfig

        run_node.__name__ = name
        # LangGraph hands the config to a parameter of this very type; the import must stay late.
        run_node.__annotations__["config"] = RunnableConfig
        return run_node

    async def _entry(self, state: Any) -> dict[str, Any]:
        """Stands after START where its edges are conditional; LangGraph would drop a failing router there."""
        scope = require_scope()
        values = self._values(state)
        return self._routing.routes("__start__", values, state.get(LOOPS) or {}, scope.run_id)

    def _values(self, state: Any) -> dict[str, Any]:
        return {name: state[name] for name in self.schema.fields if name in state}

    async def execute(self, spec: NodeSpec, place: Place, state: Any, config: Any) -> dict[str, Any]:
        """Run the node at this place until it has a valid update, or raise a located ``VertebraError``."""
        scope = require_scope()
        outer = current_visit.get()
        index = state.get(INDEX, place.index) if spec.name in self._workers else None
        key = visit_key(outer.key if outer else None, spec.name, place.step, index, scope.branch)
        started = scope.services.clock.now().timestamp()
        execution = _Execution(self, scope, spec, place, key, state, config)
        outcome, failure = "failed", None
        try:
            if outer is None and (spec.name, place.step) in scope.stand_ins:
                update = self.update_of(spec, scope.stand_ins[spec.name, place.step], state, scope.run_id)
                outcome = "skipped"
            else:
                update = await execution.run()
                outcome = "done"
            plain = [name for name in update if name in self.schema.fields and not self.schema.fields[name].reducer]
            scope.claims.take(place.superstep, place.task_id, spec.name, plain)
        except VertebraError as error:
            outcome = "failed"
            failure = error.located(graph=self._definition.name, thread=scope.thread, node=spec.name, step=place.step)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except BaseException:
            outcome = "interrupted"
            raise
        finally:
            ended = scope.services.clock.now().timestamp()
            if outcome in ("done", "failed", "skipped"):
                await scope.services.store.journal.visit_ended(
                    scope.thread,
                    VisitRecord(
                        *(key, spec.name, place.step, scope.run_id, outcome, execution.attempt, started, ended),
                        error=failure.to_json() if failure else None,
                    ),
                )
            execution.report(outcome, failure, ended - started)
        scope.returned.append(spec.name)
        crash_point("node.returned")
        scope.services.store.saver.expect(scope.thread, place.loop, place.task_id)
        return update

    def update_of(self, spec: NodeSpec, result: Any, state: Any, run_id: str) -> dict[str, Any]:
        """Validate what a body returned and add the route. Raises ``InvalidUpdate``, ``RouterFailed`` ..."""
        if type(result).__name__ == "Command" and type(result).__module__.startswith("langgraph."):
            raise InvalidUpdate(
                f"Node {spec.name!r} returned a Command, but the edges of a Vertebra graph are declared.",
                remedy="return the update, and declare where to go with add_conditional_edges.",
                node=spec.name,
            )
        values = {} if spec.name in self._workers else self._values(state)
        update = self.schema.validate_update(result, values, node=spec.name)
        if not self._routing.has_choices(spec.name):
            return update
        after = self.schema.apply(values, update)
        return {**update, **self._routing.routes(spec.name, after, state.get(LOOPS) or {}, run_id)}

    def input_of(self, spec: NodeSpec, state: Any) -> Any:
        """What the body receives: the item of a fan-out, or the state."""
        if spec.name in self._workers:
            return state[ITEM]
        try:
            return self.schema.hydrate(self._values(state))
        except ValidationError as error:
            raise InvalidInput(
                f"The state does not fit {self.schema.declared.__name__} before node {spec.name!r}: {summary(error)}.",
                remedy="give the missing fields in the input, or defaults in the state.",
            ) from error

    def spec(self, name: str) -> NodeSpec:
        return self._definition.nodes[name]

    def inner(self, name: str) -> Any:
        return self._inner[name]

    def answer_field(self, spec: NodeSpec) -> str:
        return spec.into or fields_of_type(self._definition, spec)[0]


class _Execution:
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
            from vertebra.nodes.kinds import spec_of

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
