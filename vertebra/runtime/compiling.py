"""From a definition to what an app stands on: a compiled LangGraph graph, an open store, a door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertebra.checkpointers.opening import open_checkpointer
from vertebra.databases.keys import Encryption
from vertebra.graphs.compilation import build
from vertebra.graphs.definition import Definition
from vertebra.memory import open_memory
from vertebra.ports import Clock, Sender, SystemClock
from vertebra.runtime.door import Door, DoorParts
from vertebra.runtime.node_runner import NodeRunner
from vertebra.runtime.sending import HttpSender
from vertebra.runtime.services import AppServices
from vertebra.runtime.subgraphs import Subgraph


def compile_definition(definition: Definition) -> Any:
    """The LangGraph builder for a definition and, compiled within it, its subgraphs."""
    inner = {
        name: Subgraph(graph.definition, compile_definition(graph.definition).compile(name=name))
        for name, graph in definition.subgraphs.items()
    }
    runner = NodeRunner(definition, inner)
    return build(definition, lambda _, name: runner.wrap(name))


def open_services(
    checkpointer: Any,
    journal: str | None,
    encryption: Encryption | None,
    types: set[type[Any]],
    *,
    memory: Any = None,
    models: Mapping[str, str] | None,
    default_model: str | None,
    lease_ttl_s: float,
    max_recoveries: int,
    max_answer_bytes: int,
    max_journal_bytes: int | None,
    clock: Clock | None,
    sender: Sender | None,
) -> tuple[AppServices, bool]:
    """What an app stands on, and whether it has opened the store itself."""
    store = open_checkpointer(checkpointer, journal=journal, encryption=encryption)
    store.allow(types)
    clock = clock or SystemClock()
    try:
        opened = open_memory(memory, encryption=encryption) if isinstance(memory, str) else memory
    except BaseException:
        if store is not checkpointer:
            store.close()
        raise
    parts = DoorParts(store.journal, sender or HttpSender(), clock, max_answer_bytes=max_answer_bytes)
    services = AppServices(
        store,
        Door(parts),
        clock,
        dict(models or {}),
        default_model,
        opened,
        lease_ttl_s=lease_ttl_s,
        max_recoveries=max_recoveries,
        max_journal_bytes=max_journal_bytes,
    )
    return services, store is not checkpointer


def state_types(definition: Definition) -> set[type[Any]]:
    """The types that checkpoints of this graph and its subgraphs may hold."""
    found = definition.schema.types()
    for graph in definition.subgraphs.values():
        found |= state_types(graph.definition)
    return found
