"""What LangGraph runs as the nodes of a graph: each executed, recorded, routed."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from vertebra.errors import InvalidInput, InvalidUpdate, VertebraError
from vertebra.graphs.compilation import ENTRY, INDEX, ITEM, LOOPS
from vertebra.graphs.definition import Definition
from vertebra.graphs.routing import Routing
from vertebra.graphs.state import summary
from vertebra.graphs.writes import fields_of_type
from vertebra.nodes.kinds import NodeSpec
from vertebra.nodes.visit import current_visit, visit_key
from vertebra.ports import crash_point
from vertebra.runtime.execution import Execution
from vertebra.runtime.place import Place
from vertebra.runtime.scope import require_scope
from vertebra.types import VisitRecord


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
        name = spec.name if outer else scope.known_as.get((spec.name, place.step), spec.name)
        key = visit_key(outer.key if outer else None, name, place.step, index, scope.branch)
        started = scope.services.clock.now().timestamp()
        execution = Execution(self, scope, spec, place, key, state, config)
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
                await scope.journal.visit_ended(
                    scope.thread,
                    VisitRecord(
                        *(key, spec.name, place.step, scope.run_id, outcome, execution.attempt, started, ended),
                        error=failure.to_json() if failure else None,
                    ),
                )
            execution.report(outcome, failure, ended - started)
        scope.returned.append(spec.name)
        crash_point("node.returned")
        scope.services.store.saver.expect(scope.thread, place.loop, place.task_id, node=spec.name, step=place.step)
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
            return copy.deepcopy(state[ITEM])  # as the state, each attempt's own
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
