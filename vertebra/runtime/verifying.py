"""Verifying a recorded thread: each superstep executed again on its recorded state, and compared.

The record is copied into a store in memory, and the graph compiled on it once more; the store that the
thread came from is only read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.legible import legible
from vertebra.errors import NotRecorded, RecordPruned, UsageError, VertebraError
from vertebra.graphs.compilation import OUTBOX, ROUTE
from vertebra.graphs.definition import Definition
from vertebra.graphs.shape import difference
from vertebra.nodes.visit import current_visit
from vertebra.runtime.compiling import compile_definition
from vertebra.runtime.differences import Writes, by_task, differences_of, in_words, unrecorded_difference
from vertebra.runtime.driving import RECURSION_LIMIT
from vertebra.runtime.edges import BEGIN, next_of
from vertebra.runtime.execution import as_node_error
from vertebra.runtime.position import RUN_KEY
from vertebra.runtime.recorded import Checkpoint, Codec, Recorded
from vertebra.runtime.remembering import recorded_memory
from vertebra.runtime.replaying import ReplayScope, models_of, replay_services
from vertebra.runtime.scope import current_scope
from vertebra.runtime.shared_store import read_only
from vertebra.runtime.snapshots import checkpoint_config, thread_config
from vertebra.types import Difference, Verification

if TYPE_CHECKING:
    from vertebra.runtime.app import App

Questions = dict[tuple[str, str], list[str]]
"""Task and node to the ids of the interrupts in which they waited."""


async def verify_recorded(app: App, recorded: Recorded) -> Verification:
    """What ``App.verify`` does."""
    definition = app.definition
    if definition is None:
        raise UsageError(
            f"Graph {app.name!r} is adopted from LangGraph: which of its nodes may be run again is not declared.",
            remedy="build it as a Graph, with @transition, @llm, @effect and @human nodes, to have it verified.",
        )
    about = recorded.about
    found: list[Difference] = []
    edges = nodes = 0
    unverified: set[str] = set()
    pruned: list[str] = []
    if about["fingerprint"] != app.fingerprint:
        with legible(str(about["thread"]), "shape"):
            lines = "\n".join(difference(about["shape"], app.shape))
        found.append(Difference("graph", "", -1, None, about["fingerprint"], app.fingerprint, lines))
    else:
        replay = await Replay.of(app, definition, recorded)
        try:
            for before, after in _supersteps(recorded):
                here = await replay.superstep(before, after)
                found.extend(here)
                edges += 1
        finally:
            replay.close()
        nodes, unverified, pruned = replay.executed, replay.unverified, replay.pruned
    return Verification(
        *(about["thread"], about["graph"], about["version"], edges, nodes),
        *(tuple(sorted(unverified)), tuple(found), (*_history_pruned(recorded), *pruned)),
    )


def _supersteps(recorded: Recorded) -> Iterator[tuple[Checkpoint, Checkpoint]]:
    """Each checkpoint from which nodes ran, with the one that they came to."""
    known = {item.id: item for item in recorded.checkpoints}
    for after in recorded.checkpoints:
        before = known.get(after.parent or "")
        if before is not None and after.metadata.get("source") == "loop" and next_of(before.state) != (BEGIN,):
            yield before, after


def _history_pruned(recorded: Recorded) -> Iterator[str]:
    known = {item.id for item in recorded.checkpoints}
    for item in recorded.checkpoints:
        if item.parent is not None and item.parent not in known:
            yield f"history before step {item.metadata.get('step')}"


class Replay:
    """One recorded thread in a world where nothing happens."""

    def __init__(self, app: App, definition: Definition, recorded: Recorded) -> None:
        codec = Codec(definition)
        services = replay_services(app, definition, str(recorded.about["thread"]))
        self._services, self._definition, self._recorded = services, definition, recorded
        self._journal: Any = services.store.journal
        self._graph = compile_definition(definition).compile(
            checkpointer=services.store.saver, name=definition.name, store=read_only(app.graph.store)
        )
        self._thread = str(recorded.about["thread"])
        with legible(self._thread, "answers"):
            self._answers = {row["interrupt_id"]: json.loads(row["answer"]) for row in recorded.rows["answers"]}
        with legible(self._thread, "interventions"):
            self._by_hand = {
                (row["node"], detail["step"]): codec.unpack(base64.b64decode(detail["update"]))
                for row in recorded.rows["interventions"]
                if row["kind"] == "skip" and (detail := json.loads(row["detail"]))
            }
        self._workers = {fan.worker for fan in definition.fan_outs}
        self._channels = {*definition.schema.fields, ROUTE, OUTBOX}  # loop counts follow from routes
        self._memory = recorded_memory(app.services.memory, recorded.about, recorded.rows)
        self._models: dict[str, str] = {}
        self.unverified: set[str] = set()
        self.pruned: list[str] = []
        self.executed = 0

    @classmethod
    async def of(cls, app: App, definition: Definition, recorded: Recorded) -> Replay:
        """With the record copied, ready to be replayed."""
        replay = cls(app, definition, recorded)
        await replay._services.store.recordings.write(replay._thread, recorded.rows)
        replay._models = models_of(await replay._journal.calls(replay._thread))
        return replay

    async def superstep(self, before: Checkpoint, after: Checkpoint) -> list[Difference]:
        """Execute what ran between two checkpoints, and compare."""
        saver, config = self._services.store.saver, checkpoint_config(self._thread)
        await saver.adelete_thread(self._thread)
        here = await saver.aput(config, before.state, dict(before.metadata), before.state["channel_versions"])  # type: ignore[arg-type]
        tasks = {task.id: task.name for task in (await self._graph.aget_state(thread_config(self._thread))).tasks}
        recorded = by_task(before.writes, self._channels)
        step = int(after.metadata.get("step", 0))
        stand_ins = await self._leave_out(here, before, step, tasks, recorded)
        self._journal.unrecorded.clear()
        self._journal.pruned.clear()
        failure = await self._execute(here, str(after.metadata.get(RUN_KEY)), stand_ins, _questions(before.writes))
        now = await saver.aget_tuple(here)
        assert now is not None
        written = by_task(now.pending_writes or (), self._channels)
        found = [unrecorded_difference(item) for item in self._journal.unrecorded]
        asked = {item.call.node for item in self._journal.unrecorded}
        for task, name in tasks.items():
            if task in recorded and task in written:
                found.extend(differences_of(name, step, recorded[task], written[task], self._same))
        lost: set[str] = self._journal.pruned
        self.pruned += [f"answers of {name} at step {step}" for name in sorted(lost)]
        self.executed += len([name for name in tasks.values() if name not in self.unverified and name not in lost])
        if (
            failure is not None
            and not isinstance(failure, RecordPruned)
            and not (found and isinstance(failure, NotRecorded))
            and failure.context.get("node") not in asked
        ):
            node = str(failure.context.get("node", "?"))
            found.append(Difference("error", node, step, None, None, failure.code, failure.message))
        latest = await saver.aget_tuple(config)
        assert latest is not None
        if latest.checkpoint["id"] == before.id:
            # It did not come to its end: it failed, or waits for an answer that was not recorded with its question.
            unfinished = {name for task, name in tasks.items() if task not in written}
            self.unverified |= unfinished if not found and not lost else set()
        elif not found:
            found.extend(self._state_differences(step, after.state, latest.checkpoint))
        return found

    async def _execute(
        self, here: Any, run_id: str, stand_ins: Mapping[tuple[str, int], Any], asked: Questions
    ) -> VertebraError | None:
        """Run the superstep to its end, with people's recorded answers; or return what it failed with."""
        about = self._recorded.about
        scope = ReplayScope(
            *(self._services, self._thread, run_id, about["branch"], about["principal"]),
            journal=self._services.store.journal,
            stand_ins=stand_ins,
            seed=about["seed"],
            memory_of=self._memory,
            recorded_models=self._models,
        )
        config = {**thread_config(self._thread), "recursion_limit": RECURSION_LIMIT}
        token, visit = current_scope.set(scope), current_visit.set(None)
        payload: Any = None
        try:
            while True:
                await self._graph.ainvoke(payload, config, durability="sync", interrupt_after="*")
                payload = await self._answers_now(here, asked)
                if payload is None:
                    return None
        except Exception as error:
            return as_node_error(error, "?")
        finally:
            current_visit.reset(visit)
            current_scope.reset(token)

    async def _answers_now(self, here: Any, asked: Questions) -> Any:
        """The recorded answers to what waits now. Within a subgraph a question has another id each time."""
        from langgraph.types import Command

        latest = await self._services.store.saver.aget_tuple(thread_config(self._thread))
        if latest is None or latest.checkpoint["id"] != here["configurable"]["checkpoint_id"]:
            return None
        known = {}
        for place, (now,) in _questions(latest.pending_writes or ()).items():
            recorded = asked.get(place, [])
            if recorded and recorded[0] in self._answers:
                known[now] = self._answers[recorded.pop(0)]
        return Command(resume=known) if known else None

    async def _leave_out(
        self, config: Any, before: Checkpoint, step: int, tasks: Mapping[str, str], recorded: Writes
    ) -> dict[tuple[str, int], Any]:
        """What stands in for nodes that are not executed: their routers are asked all the same."""
        stand_ins = {place: update for place, update in self._by_hand.items() if place[1] == step}
        fields = self._definition.schema.fields
        for task, name in tasks.items():
            if _is_declared(self._definition, name) or (name, step) in self._by_hand:
                continue
            self.unverified.add(name)
            written = {field: value for field, value in recorded.get(task, {}).items() if field in fields}
            if name in self._workers:  # each has an update of its own; none has a router
                writes = [(channel, value) for task_id, channel, value in before.writes if task_id == task]
                await self._services.store.saver.aput_writes(config, writes, task)
            else:
                stand_ins[name, step] = written
        return stand_ins

    def _same(self, one: Any, other: Any) -> bool:
        if one is other or (type(one) is type(other) and one == other):
            return True
        dump: Callable[[Any], Any] = self._services.store.saver.serde.dumps_typed
        return bool(dump(one) == dump(other))  # NaN is not itself

    def _state_differences(self, step: int, recorded: Any, now: Any) -> Iterator[Difference]:
        """What the nodes wrote was the same: so a reducer makes something else of it."""
        for field in self._definition.schema.fields:
            one, other = recorded["channel_values"].get(field), now["channel_values"].get(field)
            if not self._same(one, other):
                yield Difference("state", "", step, field, one, other, in_words(one, other))

    def close(self) -> None:
        self._services.close()
        self._services.store.close()


def _questions(writes: Sequence[tuple[str, str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Interrupts by task and by the node that asked."""
    found: dict[tuple[str, str], list[str]] = {}
    for task, channel, value in writes:
        for interrupt in value if channel == "__interrupt__" else ():
            node = interrupt.value.get("node", "") if isinstance(interrupt.value, Mapping) else ""
            found.setdefault((task, str(node)), []).append(interrupt.id)
    return found


def _is_declared(definition: Definition, node: str) -> bool:
    """Whether it is known what executing a node does: it is of a kind, and so are all nodes within it."""
    spec = definition.nodes.get(node)
    if spec is None or spec.kind != "subgraph":
        return spec is None or spec.kind != "plain"
    inner = definition.subgraphs[node].definition
    return all(_is_declared(inner, name) for name in inner.nodes)
