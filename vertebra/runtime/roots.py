"""The first checkpoint of a fork: that of its parent, with an update as if its last nodes had returned it.

It is made in memory, by LangGraph's own ``update_state``, and written to the store once. Its superstep has
the number of the parent's, so that the visits after it have the names under which the parent's are recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.unstorable import unstorable
from vertebra.errors import InvalidUpdate, UsageError
from vertebra.graphs.compilation import LOOPS, OUTBOX
from vertebra.graphs.routing import Routing
from vertebra.runtime.driving import FORK_KEY
from vertebra.runtime.edges import BEGIN, next_of
from vertebra.runtime.position import RUN_KEY
from vertebra.runtime.snapshots import checkpoint_config

if TYPE_CHECKING:
    from vertebra.runtime.app import App

NODES_KEY = "vertebra_after"
"""In the metadata of a fork's first checkpoint: the nodes that ran before it, in the parent."""


@dataclass(frozen=True)
class Root:
    """A first checkpoint that is ready to be written."""

    config: Any
    checkpoint: Any
    metadata: Any

    @property
    def step(self) -> int:
        return int(self.metadata["step"])


async def root_of(
    app: App, thread: str, run_id: str, source: Any, before: Any, update: Any, as_node: str | None
) -> Root:
    """The root of fork ``thread`` at the ``CheckpointTuple`` ``source``, which followed ``before``.

    Raises ``InvalidUpdate``, ``RouterFailed``, ``UsageError``.
    """
    checkpoint = await _whole(app.graph, source)
    metadata = dict(source.metadata or {})
    checkpoint["channel_values"].pop(OUTBOX, None)  # the parent has delivered it
    _go_on_counting(checkpoint["channel_values"], metadata.get(RUN_KEY), run_id)
    after = last_nodes(source, before)
    step = int(metadata.get("step", -1))
    if update is not None or as_node is not None:
        if BEGIN in checkpoint["channel_values"]:
            checkpoint = _with_input(app, checkpoint, update, as_node)
        else:
            nodes, moves_on = _stand_for(as_node, after, next_of(checkpoint))
            loops = checkpoint["channel_values"].get(LOOPS)
            if before is not None and set(nodes) == set(after):
                # What they counted on the way to this checkpoint is not counted once more.
                loops = _recounted(before.checkpoint["channel_values"].get(LOOPS), metadata.get(RUN_KEY), run_id)
            update = _routed(app, checkpoint, update, nodes, loops or {}, run_id)
            checkpoint = await _updated(app, thread, checkpoint, metadata, nodes, update)
            after, step = tuple(nodes), step + moves_on
    origin = f"{source.config['configurable']['thread_id']}/{source.checkpoint['id']}"
    return Root(
        checkpoint_config(thread),
        checkpoint,
        {"source": "fork", "step": step, "parents": {}, RUN_KEY: run_id, FORK_KEY: origin, NODES_KEY: "|".join(after)},
    )


def last_nodes(source: Any, before: Any) -> tuple[str, ...]:
    """The nodes that ran just before a checkpoint, as far as it is known."""
    metadata = source.metadata or {}
    if NODES_KEY in metadata:
        return tuple(name for name in str(metadata[NODES_KEY]).split("|") if name)
    return next_of(before.checkpoint) if before is not None and metadata.get("source") == "loop" else ()


async def _whole(graph: Any, source: Any) -> Any:
    """A copy of the checkpoint that stands alone: what is kept as differences from older ones is written out."""
    from langgraph.channels import DeltaChannel
    from langgraph.checkpoint.base import copy_checkpoint

    checkpoint = copy_checkpoint(source.checkpoint)
    deltas = [name for name, channel in graph.channels.items() if isinstance(channel, DeltaChannel)]
    if deltas:
        values = (await graph.aget_state(source.config)).values
        checkpoint["channel_values"].update({name: values[name] for name in deltas if name in values})
    return checkpoint


def _go_on_counting(values: dict[str, Any], old_run: Any, new_run: str) -> None:
    """Loop bounds hold over the fork: what its run has counted before it counts in the fork's."""
    if LOOPS in values:
        values[LOOPS] = _recounted(values[LOOPS], old_run, new_run)


def _recounted(loops: Mapping[str, Any] | None, old_run: Any, new_run: str) -> dict[str, Any]:
    return {key: [new_run if run == old_run else run, count] for key, (run, count) in (loops or {}).items()}


def _with_input(app: App, checkpoint: Any, update: Any, as_node: str | None) -> Any:
    """Before anything ran there is only the input: an update replaces fields of it."""
    if as_node is not None:
        raise UsageError(
            "At its input a thread has run no node yet.", remedy="leave as_node out, or fork at a later checkpoint."
        )
    values = checkpoint["channel_values"]
    given = app.read_input(update, fresh=False)
    values[BEGIN] = {**values[BEGIN], **given} if isinstance(values[BEGIN], Mapping) else given
    return checkpoint


def _stand_for(as_node: str | None, after: Sequence[str], following: Sequence[str]) -> tuple[list[str], bool]:
    """The nodes as which the update is made, its own first, and whether that ends the next superstep."""
    if as_node is None or as_node in after:
        return [*([as_node] if as_node else ()), *(name for name in after if name != as_node)], False
    others = [name for name in following if name != as_node]
    if as_node in following and others:
        raise UsageError(
            f"Node {as_node!r} comes next together with {', '.join(others)}, which would be left out.",
            remedy=f"fork without as_node, then resume(fork, skip={as_node!r}, update=...).",
            node=as_node,
        )
    return [as_node], as_node in following


def _routed(app: App, checkpoint: Any, update: Any, nodes: Sequence[str], loops: Mapping[str, Any], run_id: str) -> Any:
    """The update, validated, with the routes that the nodes take from the state after it."""
    definition = app.definition
    if definition is None:
        return update
    values = checkpoint["channel_values"]
    clean = definition.schema.validate_update(update or {}, values, node=nodes[0] if nodes else "fork")
    after = definition.schema.apply(values, clean)
    routes: dict[str, Any] = {}
    for node in nodes:
        for channel, chosen in Routing(definition).routes(node, after, loops, run_id).items():
            routes[channel] = {**routes.get(channel, {}), **chosen}
    return {**clean, **routes}


async def _updated(
    app: App, thread: str, checkpoint: Any, metadata: dict[str, Any], nodes: Sequence[str], update: Any
) -> Any:
    """The checkpoint after LangGraph's own update of a copy in memory."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.errors import InvalidUpdateError
    from langgraph.types import StateUpdate

    saver = app.services.store.saver

    class Scratch(InMemorySaver):
        def get_next_version(self, current: Any, channel: None) -> Any:
            return saver.get_next_version(current, channel)

    scratch = Scratch(serde=saver.serde)
    versions = checkpoint["channel_versions"]
    config = await scratch.aput(checkpoint_config(thread), checkpoint, metadata, versions)  # type: ignore[arg-type]
    graph = app.graph.copy({"checkpointer": scratch})
    steps = [StateUpdate(update if number == 0 else {}, node) for number, node in enumerate(nodes or [None])]
    try:
        updated = await graph.abulk_update_state(config, [steps])
    except InvalidUpdateError as error:
        raise InvalidUpdate(
            f"LangGraph refuses the update of the fork: {error}", remedy="name the node to update as with as_node=."
        ) from error
    except Exception as error:  # of the serializer, or of what runs by the graph
        told = unstorable(error, saver.serde, dict(update or {}).items())
        if told is error:
            raise
        raise told from error
    return await _whole(graph, await scratch.aget_tuple(updated))
