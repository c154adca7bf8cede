"""What a person can do to a stuck thread: put an output in a node's place, or have it asked anew."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vertebra.errors import InvalidUpdate, UsageError
from vertebra.graphs.compilation import LOOPS
from vertebra.graphs.routing import Routing
from vertebra.nodes.kinds import node_name
from vertebra.ports import JournalPort
from vertebra.runtime.snapshots import snapshot_of, thread_config
from vertebra.types import ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App

StandIns = dict[tuple[str, int], Any]
"""What was put in the place of nodes' outputs: by node and step."""


async def skip_node(
    app: App, record: ThreadRecord, journal: JournalPort, node: Any, update: Any, by: str | None
) -> None:
    """Go on as if ``node``, which is next, had returned ``update``; its siblings are executed as ever.

    In a fan-out it stands for each item that has not finished. Raises ``InvalidUpdate``, ``UsageError``.
    """
    name, snapshot = await _next_node(app, record, node, "skipped")
    update = {} if update is None else update
    if app.definition is not None:
        update = app.definition.schema.validate_update(update, snapshot.values, node=name)
    detail = {
        "fields": sorted(update) if isinstance(update, dict) else [],
        "step": _step_after(snapshot),
        "update": base64.b64encode(app.pack(update, InvalidUpdate, node=name)).decode(),
    }
    await journal.intervened(record.thread, "skip", name, by, detail)


def stand_ins(app: App, interventions: Sequence[Mapping[str, Any]]) -> StandIns:
    """All outputs that people have put in the place of nodes', the latest of each; a crash does not lose them."""
    return {
        (_now_called(interventions, item["node"], step), step): app.unpack(base64.b64decode(item["detail"]["update"]))
        for item in interventions
        if item["kind"] == "skip"
        for step in (item["detail"]["step"],)
    }


def known_as(interventions: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], str]:
    """What nodes were called when the thread came to them, by present name and step, where a migration renamed them."""
    found: dict[tuple[str, int], str] = {}
    for old, new, step in _renamings(interventions):
        found[new, step] = found.pop((old, step), old)
    return found


def _renamings(interventions: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, int]]:
    for item in interventions:
        if item["kind"] == "version":
            yield from ((old, new, item["detail"]["step"]) for old, new in item["detail"]["nodes"].items())


def _now_called(interventions: Sequence[Mapping[str, Any]], name: str, step: int) -> str:
    for old, new, when in _renamings(interventions):
        name = new if (old, when) == (name, step) else name
    return name


async def sample_afresh(app: App, record: ThreadRecord, journal: JournalPort, node: Any, by: str | None) -> None:
    """Let ``node``, which is next, ask all its calls anew: advance the epoch of its visits. Raises ``UsageError``."""
    name, snapshot = await _next_node(app, record, node, "asked anew")
    step = _step_after(snapshot)
    called = known_as(await app.services.store.journal.interventions(record.thread))
    place = f"{called.get((name, step), name)}@{step}"
    calls = await journal.calls(record.thread)
    visits = {
        c.key.visit
        for c in calls
        if c.key.visit == place or c.key.visit.startswith((f"{place}#", f"{place}~", f"{place}/", f"{place}!"))
    }
    for visit in sorted(visits):
        await journal.advance_epoch(record.thread, visit, frozenset(), "resume(fresh=)")
    await journal.intervened(record.thread, "fresh", name, by, {"visits": sorted(visits)})


def routed_update(app: App, record: ThreadRecord, values: Any, update: Any, node: str) -> dict[str, Any]:
    """The update with the route that its node would have taken. Raises ``InvalidUpdate``, ``RouterFailed``."""
    definition = app.definition
    if definition is None or node not in definition.nodes:
        return dict(update or {})
    clean = definition.schema.validate_update(update or {}, values, node=node)
    after = definition.schema.apply(values, clean)
    routes = Routing(definition).routes(node, after, values.get(LOOPS) or {}, record.run_id)
    return {**clean, **routes}


async def _next_node(app: App, record: ThreadRecord, node: Any, what: str) -> tuple[str, Any]:
    name = node_name(node)
    snapshot = await snapshot_of(app.graph, thread_config(record.thread))
    if name not in snapshot.next:
        raise UsageError(
            f"Node {name!r} is not next in thread {record.thread!r}; next: {', '.join(snapshot.next) or 'nothing'}.",
            remedy=f"only a node that the thread stands before can be {what}.",
            thread=record.thread,
        )
    return name, snapshot


def _step_after(snapshot: Any) -> int:
    return int((snapshot.metadata or {}).get("step", -1)) + 1
