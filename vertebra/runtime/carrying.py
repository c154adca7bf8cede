"""What it takes to carry a thread over to another version of its graph: decided, not yet done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vertebra.checkpointers.versions import IN_DOUBT
from vertebra.errors import GraphChanged, InvalidInput, MigrationFailed
from vertebra.graphs.ahead import Parts, Position, Unreadable, changes_ahead
from vertebra.graphs.compilation import ENTRY
from vertebra.graphs.definition import Definition
from vertebra.graphs.migrating import dead_ends, migrated
from vertebra.graphs.shape import difference, fingerprint
from vertebra.graphs.state import summary
from vertebra.runtime.position import has_begun, joins_in, position_of, to_channel
from vertebra.runtime.rewriting import Rewriting, fields_of
from vertebra.types import START, Standing, ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App

MARK = "vertebra_version"
"""In the metadata of a rewritten checkpoint: the fingerprints of the graphs from which and for which, and how."""

_UNFINISHED = frozenset({"__interrupt__", "__resume__", "__error__", "__error_source_node__", "__scheduled__"})
"""What a task writes that has not ended."""


@dataclass(frozen=True)
class Plan:
    """``put``: what to hand to the saver, if anything. ``detail``: for the intervention."""

    put: tuple[Any, Any, Any, Any] | None
    detail: dict[str, Any] = field(default_factory=dict)
    input: bytes | None = None


def plan(app: App, record: ThreadRecord, latest: Any) -> Plan:
    """How to carry the thread over to the app's graph. Raises ``GraphChanged``, ``MigrationFailed``."""
    mark = ((latest.metadata or {}) if latest is not None else {}).get(MARK) or {}
    own = fingerprint(record.shape)
    # A mark of another origin is older than the run record, and was settled.
    if record.fingerprint == IN_DOUBT and mark.get("from") == own and mark["fingerprint"] != own:
        if mark["fingerprint"] != app.fingerprint:
            raise GraphChanged(
                f"Thread {record.thread!r} is being carried over to another version of graph {record.graph!r}.",
                remedy="drive it with the release that began that, or cancel it and run it anew.",
                thread=record.thread,
                graph=app.name,
            )
        return Plan(None, mark["detail"])
    definition = app.definition
    if definition is None or record.graph != app.name:
        raise refused(app, record, None, difference(record.shape, app.shape))
    try:
        position = position_of(latest, record)
    except Unreadable as error:
        raise refused(app, record, None, [f"~ cannot be told apart: {error}"]) from error
    if record.version in definition.migrations:
        return _Carrying(app, definition, record, latest, position).by_migration()
    changes = changes_ahead(record.shape, app.shape, position, definition.schema.defaulted)
    if changes:
        raise refused(app, record, position, changes)
    return _Carrying(app, definition, record, latest, position).as_it_is(bool(mark))


def refused(app: App, record: ThreadRecord, position: Position | None, changes: Sequence[str]) -> GraphChanged:
    """The error that names what of the part ahead differs, and what one can do."""
    where = "" if position is None else f" and stands before {', '.join(sorted(position.next)) or 'its end'}"
    return GraphChanged(
        f"Thread {record.thread!r} was started by graph {record.graph!r} version {record.version!r}{where}. "
        f"What lies ahead of it has changed in version {app.version!r}:\n"
        + "\n".join(f"  {line}" for line in changes)
        + "\n",
        remedy=f"declare @graph.migration(from_version={record.version!r}), finish the thread with the release that "
        "started it, or cancel it and run it anew.",
        thread=record.thread,
        graph=app.name,
        next=sorted(position.next) if position is not None else None,
        changes=list(changes),
    )


class _Carrying:
    """One thread on its way to another version."""

    def __init__(self, app: App, definition: Definition, record: ThreadRecord, latest: Any, position: Position) -> None:
        self._app, self._definition, self._record = app, definition, record
        self._latest, self._position = latest, position
        saver = app.services.store.saver
        self._rewriting = None if latest is None else Rewriting(latest.checkpoint, saver.get_next_version)
        values = {} if latest is None else latest.checkpoint["channel_values"]
        self._state = fields_of(values, record.shape)
        self._given: Mapping[str, Any] | None = values.get(START)

    @property
    def _step(self) -> int:
        return int((self._latest.metadata or {}).get("step", -1)) + 1 if self._latest is not None else 0

    def as_it_is(self, was_marked: bool) -> Plan:
        """Nothing ahead differs: fields that came with a default get it, once; joins keep what has arrived."""
        schema = self._definition.schema
        rewriting = self._rewriting
        if rewriting is None:
            return Plan(None, self._detail("same ahead", {}, False))
        try:
            if self._state:
                missing = schema.defaulted - set(self._record.shape["state"])
                state = schema.hydrate(self._state)
                rewriting.state(self._state, {**self._state, **{name: getattr(state, name) for name in missing}})
            elif self._given is not None:
                whole = schema.with_defaults(self._given)
                if set(whole) != set(self._given):
                    rewriting.given(whole)
        except ValidationError as error:
            raise refused(self._app, self._record, self._position, [f"~ state: {summary(error)}"]) from error
        moves = {old: to for old, to in self._joins({}).items() if to[0] not in (None, old)}
        rewriting.joins(moves)
        if not rewriting.touched and not was_marked:
            return Plan(None, self._detail("same ahead", {}, False))
        anew = any(channel in moves for _, channel, _ in self._latest.pending_writes or ())
        return self._put(rewriting, self._detail("same ahead", {}, anew))

    def by_migration(self) -> Plan:
        """New values and names from the declared functions. Raises ``MigrationFailed``."""
        values = self._state or self._given or (self._unpacked() if self._rewriting is None else {})
        standing = Standing(self._record.thread, self._record.version, tuple(sorted(self._position.next)), self._step)
        result = migrated(self._definition, values, standing, begun=bool(self._state))
        self._require_a_way_on(result.nodes)
        rewriting = self._rewriting
        if rewriting is None:
            packed = self._app.pack(result.values, MigrationFailed)
            return Plan(None, self._detail("migration", result.nodes, False), packed)
        if self._state:
            rewriting.state(self._state, result.values)
            self._require_fitting_input()
        else:
            rewriting.given(result.values)
        rewriting.nodes(result.nodes)
        rewriting.joins(self._joins(result.nodes))
        for node in self._woken_by_gone_joins(result.nodes):
            rewriting.write(to_channel(node), None)
        anew = any(self._reasons_to_ask_anew(result.nodes))
        return self._put(rewriting, self._detail("migration", result.nodes, anew))

    def _unpacked(self) -> dict[str, Any]:
        return dict(self._app.unpack(self._record.input or b""))

    def _joins(self, names: Mapping[str, str]) -> dict[str, tuple[str | None, set[str]]]:
        """Of each join that something has arrived at: its channel, and what it is from now on."""
        values = {} if self._latest is None else self._latest.checkpoint["channel_values"]
        moves: dict[str, tuple[str | None, set[str]]] = {}
        for (sources, target), channel in joins_in(values, self._record.shape).items():
            wanted = {names.get(source, source) for source in sources}, names.get(target, target)
            found = [f"join:{'+'.join(s)}:{t}" for s, t in self._definition.joins if (set(s), t) == wanted]
            moves[channel] = found[0] if found else None, {names.get(source, source) for source in values[channel]}
        return moves

    def _woken_by_gone_joins(self, names: Mapping[str, str]) -> Iterator[str]:
        """Nodes that the thread stands before because of a join that the new graph does not have."""
        values = {} if self._latest is None else self._latest.checkpoint["channel_values"]
        moves = self._joins(names)
        for (sources, target), channel in joins_in(values, self._record.shape).items():
            if moves[channel][0] is None and set(values[channel]) == sources and target in self._position.next:
                yield names.get(target, target)

    def _require_a_way_on(self, names: Mapping[str, str]) -> None:
        """Refuse a position from which the thread would end early, or wait for ever."""
        old = self._position
        arrived = {
            (frozenset(names.get(s, s) for s in join[0]), names.get(join[1], join[1])): frozenset(
                names.get(s, s) for s in come
            )
            for join, come in old.arrived.items()
        }
        new = Position(frozenset(names.get(name, name) for name in old.next), arrived)
        try:
            lines = dead_ends(Parts(self._app.shape), new, self._definition.nodes)
        except Unreadable as error:
            lines = [f"the graph cannot be told apart: {error}"]
        if self._waits_at_entry() and ENTRY not in self._app.graph.nodes:
            lines.append("the choice after START, where it stands, has gone")
        if lines:
            raise self._failed("; ".join(lines))

    def _waits_at_entry(self) -> bool:
        return has_begun(self._latest, self._record) and to_channel(ENTRY) in self._latest.checkpoint["channel_values"]

    def _require_fitting_input(self) -> None:
        """What a further turn was given stays as it is: the migration has carried over the state before it."""
        if has_begun(self._latest, self._record) and self._given is None:
            return
        given = self._given if self._given is not None else self._unpacked()
        try:
            self._definition.schema.read_input(given, fresh=False)
        except InvalidInput as error:
            raise self._failed(f"the input of its present turn does not fit: {error.message}") from error

    def _failed(self, why: str) -> MigrationFailed:
        return MigrationFailed(
            f"Thread {self._record.thread!r} cannot go on from the migration of version {self._record.version!r}: "
            f"{why}.",
            remedy="name the node where it stands in the mapping that the migration returns, then resume the thread.",
            thread=self._record.thread,
            graph=self._app.name,
        )

    def _reasons_to_ask_anew(self, names: Mapping[str, str]) -> Iterator[bool]:
        """Whether what the tasks of this superstep have written so far means nothing in the new graph.

        LangGraph names a task by its checkpoint, its node and the joins that wake that. Where none of it changes the
        checkpoint is replaced in its place, and what hangs on it stays: questions with their ids, answers.
        """
        old, new = self._record.shape, self._app.shape
        for node in self._position.next:
            yield node in names
            yield _waking(old, node) != _waking(new, node)
            yield _inner(old, node) != _inner(new, node)
        yield any(channel not in _UNFINISHED for _, channel, _ in self._latest.pending_writes or ())

    def _put(self, rewriting: Rewriting, detail: dict[str, Any]) -> Plan:
        latest, checkpoint = self._latest, rewriting.checkpoint
        metadata = {**latest.metadata, MARK: self._mark(detail)}
        before = (latest.parent_config or {}).get("configurable", {}).get("checkpoint_id")
        if detail["asked_anew"]:
            from langgraph.checkpoint.base.id import uuid6

            before, metadata["source"] = checkpoint["id"], "update"
            checkpoint["id"] = str(uuid6(clock_seq=self._step))
        place = {"thread_id": self._record.thread, "checkpoint_ns": "", "checkpoint_id": before}
        config = {"configurable": {key: value for key, value in place.items() if value is not None}}
        return Plan((config, checkpoint, metadata, rewriting.touched), detail)

    def _mark(self, detail: dict[str, Any]) -> dict[str, Any]:
        return {"from": fingerprint(self._record.shape), "fingerprint": self._app.fingerprint, "detail": detail}

    def _detail(self, how: str, names: Mapping[str, str], asked_anew: bool) -> dict[str, Any]:
        return {"how": how, "nodes": dict(names), "step": self._step, "asked_anew": asked_anew}


def _waking(shape: Mapping[str, Any], node: str) -> list[str]:
    return sorted(text for text in shape["joins"] if text.endswith(f" -> {node}"))


def _inner(shape: Mapping[str, Any], node: str) -> Any:
    found = shape["nodes"].get(node, {})
    return found.get("graph") if isinstance(found, Mapping) else None
