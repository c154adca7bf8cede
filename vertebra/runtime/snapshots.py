"""Reading the state of a thread, also where the writes after its last edge contradict each other."""

from __future__ import annotations

from typing import Any


async def snapshot_of(graph: Any, config: Any, *, subgraphs: bool = False) -> Any:
    """LangGraph's ``StateSnapshot`` of a thread: its last edge, with the writes made since.

    Two writers of one field cannot be joined; then it is the edge alone, before those writes.
    """
    from langgraph.errors import InvalidUpdateError

    try:
        return await graph.aget_state(config, subgraphs=subgraphs)
    except InvalidUpdateError:
        latest = await graph.checkpointer.aget_tuple(config)
        if latest is None:
            raise
        return await graph.aget_state(latest.config, subgraphs=subgraphs)


def thread_config(thread: str) -> Any:
    """LangGraph's config that means the latest checkpoint of a thread."""
    return {"configurable": {"thread_id": thread}}


def checkpoint_config(thread: str, checkpoint: str | None = None) -> Any:
    """LangGraph's config that means one checkpoint of the graph itself, not of a subgraph; None: the latest."""
    found = {"thread_id": thread, "checkpoint_ns": ""}
    return {"configurable": found if checkpoint is None else {**found, "checkpoint_id": checkpoint}}
