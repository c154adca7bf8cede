"""LangGraph's own names with LangGraph's signatures: an app can stand where a compiled graph stands.

They run under the same lease, journal and run records as ``run`` and ``resume``. ``durability`` is
always ``sync``: less would break what this library promises.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.fencing import writing_under
from vertebra.checkpointers.lease import new_holder
from vertebra.errors import UsageError
from vertebra.graphs.compilation import RESERVED_CHANNELS
from vertebra.runtime import portal
from vertebra.runtime.delivering import deliver_latest
from vertebra.runtime.snapshots import snapshot_of, thread_config

if TYPE_CHECKING:
    from vertebra.runtime.app import App


class LangGraphFace:
    """``invoke``, ``stream``, ``get_state`` and the rest, sync and async."""

    graph: Any

    def _app(self) -> App:
        return self  # type: ignore[return-value]

    async def ainvoke(self, input: Any, config: Any = None, **options: Any) -> Any:
        """As LangGraph's: the output values; ``Command(resume=...)`` and None are taken; errors are raised."""
        last: Any = None
        options.setdefault("stream_mode", "values")
        if options["stream_mode"] != "values":
            return [item async for item in self.astream(input, config, **options)]
        interrupts: list[Any] = []
        async for item in self.astream(input, config, **options):
            if isinstance(item, Mapping) and "__interrupt__" in item:
                interrupts = list(item["__interrupt__"])
            last = item
        if interrupts and isinstance(last, Mapping):
            last = {**last, "__interrupt__": interrupts}
        return last

    async def astream(self, input: Any, config: Any = None, **options: Any) -> AsyncIterator[Any]:
        """As LangGraph's, with every stream mode. Ends early if left early; the thread can be resumed."""
        from vertebra.runtime.streaming import stream

        async for item in stream(self._app(), input, with_thread(config), options):
            yield item

    def invoke(self, input: Any, config: Any = None, **options: Any) -> Any:
        return portal.runs.call(functools.partial(self.ainvoke, input, config, **options))

    def stream(self, input: Any, config: Any = None, **options: Any) -> Iterator[Any]:
        yield from portal.runs.iterate(lambda: self.astream(input, config, **options))

    async def aget_state(self, config: Any, *, subgraphs: bool = False) -> Any:
        """LangGraph's ``StateSnapshot``, with the state's own fields."""
        return _public(await snapshot_of(self.graph, config, subgraphs=subgraphs))

    def get_state(self, config: Any, *, subgraphs: bool = False) -> Any:
        return portal.runs.call(functools.partial(self.aget_state, config, subgraphs=subgraphs))

    async def aget_state_history(self, config: Any, **options: Any) -> AsyncIterator[Any]:
        async for snapshot in self.graph.aget_state_history(config, **options):
            yield _public(snapshot)

    def get_state_history(self, config: Any, **options: Any) -> Iterator[Any]:
        yield from portal.runs.iterate(lambda: self.aget_state_history(config, **options))

    async def history(self, thread_id: str, *, limit: int | None = None) -> AsyncIterator[Any]:
        """The snapshots of a thread, latest first; a fork's goes on with its parent's, from where it was forked."""
        from vertebra.runtime.trees import history_of

        async for snapshot in history_of(self._app(), thread_id, limit):
            yield _public(snapshot)

    async def aupdate_state(
        self, config: Any, values: Any, as_node: str | None = None, task_id: str | None = None
    ) -> Any:
        """As LangGraph's, but validated, routed, and refused while another process drives the thread.

        A thread that waited for an answer is ``running`` after it, to be driven on by ``resume(thread)``:
        its question is asked anew, of the new state. Raises ``ThreadBusy``, ``InvalidUpdate``, ``GraphChanged``.
        """
        from vertebra.runtime.position import RUN_KEY
        from vertebra.runtime.steering import routed_update
        from vertebra.runtime.versions import brought_up

        app = self._app()
        thread = str(config["configurable"]["thread_id"])
        record = await app.services.store.runs.get(thread)
        if record is None:
            return await self.graph.aupdate_state(config, values, as_node, task_id)
        record = await brought_up(app, record)
        taken, lease = await app.services.store.runs.take(thread, new_holder(), 30.0, by_hand=True)
        status = record.status
        try:
            await deliver_latest(app.services, thread)
            snapshot = await snapshot_of(self.graph, config)
            if as_node is not None:
                values = routed_update(app, taken, snapshot.values, values, as_node)
            elif app.definition is not None and values is not None:
                values = app.definition.schema.validate_update(values, snapshot.values, node="update_state")
            await app.services.store.journal.under(lease).intervened(
                thread, "update_state", as_node or "", None, {"fields": sorted(values or {})}
            )
            # A checkpoint without its run would be taken for that of an earlier turn.
            config = {**config, "metadata": {**(config.get("metadata") or {}), RUN_KEY: taken.run_id}}
            with writing_under(lease):
                updated = await self.graph.aupdate_state(config, values, as_node, task_id)
            if status in ("interrupted", "done") and (await self.graph.aget_state(thread_config(thread))).next:
                status = "running"
            return updated
        finally:
            await app.services.store.runs.finish(lease, status, record.error)

    def update_state(self, config: Any, values: Any, as_node: str | None = None, task_id: str | None = None) -> Any:
        return portal.runs.call(functools.partial(self.aupdate_state, config, values, as_node, task_id))

    def get_graph(self, config: Any = None, *, xray: int | bool = False) -> Any:
        """LangGraph's drawable graph."""
        return self.graph.get_graph(config, xray=xray)


def with_thread(config: Any) -> dict[str, Any]:
    """The config with a thread id, a fresh one where none is given."""
    settings: dict[str, Any] = dict(config or {})
    configurable = dict(settings.get("configurable") or {})
    configurable.setdefault("thread_id", uuid.uuid4().hex)
    if configurable.get("checkpoint_id"):
        raise UsageError(
            "Running on from an older checkpoint would leave the thread with two futures.",
            remedy="fork it: run = await app.fork(thread, at=checkpoint_id), then resume(run.thread_id).",
        )
    settings["configurable"] = configurable
    return settings


def _public(snapshot: Any) -> Any:
    values = snapshot.values
    if isinstance(values, Mapping):
        values = {name: value for name, value in values.items() if name not in RESERVED_CHANNELS}
    return snapshot._replace(values=values)
