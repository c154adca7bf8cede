"""What a person can do to a stuck thread: put an output in a node's place, or have it asked anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vertebra.errors import UsageError
from vertebra.graphs.compilation import LOOPS
from vertebra.graphs.routing import Routing
from vertebra.nodes.kinds import node_name
from vertebra.types import ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


async def skip_node(app: App, record: ThreadRecord, node: Any, update: Any, by: str | None) -> None:
    """Go on as if ``node`` had returned ``update``. Raises ``InvalidUpdate``, ``UsageError``."""
    name = node_name(node)
    config = {"configurable": {"thread_id": record.thread}}
    snapshot = await app.graph.aget_state(config)
    if name not in snapshot.next:
        raise UsageError(
            f"Node {name!r} is not next in thread {record.thread!r}; next: {', '.join(snapshot.next) or 'nothing'}.",
            remedy="skip a node that the thread stands before.",
            thread=record.thread,
        )
    await app.services.store.journal.intervened(record.thread, "skip", name, by, {"fields": sorted(update or {})})
    await app.graph.aupdate_state(config, routed_update(app, record, snapshot.values, update, name), as_node=name)


def routed_update(app: App, record: ThreadRecord, values: Any, update: Any, node: str) -> dict[str, Any]:
    """The update with the route that its node would have taken."""
    definition = app.definition
    if definition is None or node not in definition.nodes:
        return dict(update or {})
    clean = definition.schema.validate_update(update or {}, values, node=node)
    after = definition.schema.apply(values, clean)
    routes = Routing(definition).routes(node, after, values.get(LOOPS) or {}, record.run_id)
    return {**clean, **routes}


async def sample_afresh(app: App, record: ThreadRecord, node: Any, by: str | None) -> None:
    """Let ``node``, which is next, ask all its calls anew: advance the epoch of its visits."""
    name = node_name(node)
    snapshot = await app.graph.aget_state({"configurable": {"thread_id": record.thread}})
    if name not in snapshot.next:
        raise UsageError(
            f"Node {name!r} is not next in thread {record.thread!r}; next: {', '.join(snapshot.next) or 'nothing'}.",
            remedy="only a node that the thread stands before can be asked anew.",
            thread=record.thread,
        )
    step = int((snapshot.metadata or {}).get("step", -1)) + 1
    place = f"{name}@{step}"
    calls = await app.services.store.journal.calls(record.thread)
    visits = {
        c.key.visit
        for c in calls
        if c.key.visit == place or c.key.visit.startswith((f"{place}#", f"{place}~", f"{place}/", f"{place}!"))
    }
    for visit in sorted(visits):
        await app.services.store.journal.advance_epoch(record.thread, visit, frozenset(), "resume(fresh=)")
    await app.services.store.journal.intervened(record.thread, "fresh", name, by, {"visits": sorted(visits)})
