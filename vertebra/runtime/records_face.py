"""What is asked of threads on record: how they stand, what they did, whether they would again; and to let them go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.pruning import Progress
from vertebra.errors import StoreCorrupt
from vertebra.ports import crash_point
from vertebra.runtime.delivering import deliver_latest
from vertebra.runtime.outcome import run_of
from vertebra.runtime.past import THREADS, past_of
from vertebra.runtime.recorded import damaged, from_json, read_thread, to_json
from vertebra.runtime.steps import Steps, steps_of
from vertebra.runtime.trees import tree_of
from vertebra.runtime.verifying import verify_recorded
from vertebra.types import PastRun, Pruned, Run, ThreadTree, Verification

if TYPE_CHECKING:
    from vertebra.graphs.pictures import Picture
    from vertebra.graphs.pictures.palette import Theme
    from vertebra.runtime.app import App


class RecordsFace:
    """The methods of an app that drive nothing."""

    def _app(self) -> App:
        return self  # type: ignore[return-value]

    async def tree(self, thread_id: str) -> ThreadTree:
        """The edges of a thread, of what it was forked from and of all forks. Raises ``ThreadNotFound``."""
        return await tree_of(self._app().services.store, thread_id)

    async def steps(self, thread_id: str) -> Steps:
        """The durable edges of a thread, oldest first, each with what it changed in the state.

        A sequence of ``Step``; in a notebook each can be opened. Raises ``ThreadNotFound``.
        """
        return await steps_of(self._app(), thread_id)

    async def verify(self, thread: str | Mapping[str, Any]) -> Verification:
        """Replay a recorded thread, or what ``export`` has written, against today's code.

        Each superstep is executed on its recorded state, in memory: calls and effects are answered from the
        record, people by their recorded answers; nothing is sent, done or written. What comes out otherwise
        is a ``Difference``. Nodes that are no transition, model call, effect or question are not executed.
        Raises ``ThreadNotFound``, ``StoreCorrupt``, and ``UsageError`` for a graph adopted from LangGraph or a damaged
        export.
        """
        app = self._app()
        if isinstance(thread, str):
            return await verify_recorded(app, await read_thread(app, thread))
        try:
            return await verify_recorded(app, from_json(app, thread))
        except StoreCorrupt as error:
            raise damaged(str(error.context.get("row", error.message))) from None

    async def export(self, thread_id: str) -> dict[str, Any]:
        """A recorded thread as plain JSON data, to be kept as a fixture for ``verify``. Raises ``ThreadNotFound``.

        It holds the thread's state, prompts and answers, but no keys: those are never recorded.
        """
        app = self._app()
        return to_json(app, await read_thread(app, thread_id))

    async def status(self, thread_id: str) -> Run:
        """How a thread stands, without driving it. Raises ``ThreadNotFound``."""
        app = self._app()
        return await run_of(app, await app.services.store.runs.require(thread_id))

    async def past(self, *, threads: int = THREADS) -> Sequence[PastRun]:
        """What the runs on record of this graph came to, for ``Graph.bounds(past=)``: of its latest ``threads``.

        Runs of another shape of the graph, runs that have not ended, and forks are left out. Raises ``StoreError``.
        """
        app = self._app()
        return await past_of(app.services.store, app.name, app.fingerprint, threads)

    async def draw(self, thread_id: str, *, depth: int = 1, theme: Theme = "auto") -> Picture:
        """The graph with what the present run of a thread did, as a ``Picture``; see ``Graph.draw``.

        Raises ``ThreadNotFound``, ``UsageError``.
        """
        run = await self.status(thread_id)
        return self._app().sketch.picture(run=run, depth=depth, theme=theme)

    async def delete(self, thread_id: str) -> None:
        """Forget a thread: its state, journal and run record.

        Killed in the middle, it is cancelled and can be deleted again. Raises ``ThreadBusy`` while it is
        driven, ``ThreadNotFound``.
        """
        app = self._app()
        store = app.services.store
        await store.runs.require_free(thread_id)
        await store.runs.request_cancel(thread_id)
        if app.services.memory is not None:
            await deliver_latest(app.services, thread_id)  # what was said stays
        # State first: a run record that is gone would let a new thread of this name go on from the old state.
        await store.saver.adelete_thread(thread_id)
        crash_point("delete.dropped")
        await store.runs.delete(thread_id)

    async def prune(
        self,
        *,
        statuses: Collection[str] | None = None,
        older_than_s: float | None = None,
        keep: int | None = None,
        answers: bool = False,
        dry_run: bool = False,
        on_progress: Progress | None = None,
    ) -> Pruned:
        """Let go of ended threads of this graph, whole; or of their history (``keep``) or recorded answers alone.

        Those that stand as ``statuses`` say, and that nothing has happened to for ``older_than_s`` seconds. What
        they are by default, and all else, is as for ``prune`` of the store that ``open_checkpointer`` gives, which
        has the threads of all graphs. Raises ``UsageError``, ``StoreError``.

        Example::

            pruned = await app.prune(older_than_s=30 * 86400)  # done and cancelled a month ago
            print(pruned.threads, pruned.bytes_before - pruned.bytes_after)
        """
        app = self._app()
        return await app.services.store.prune(
            statuses=statuses,
            older_than_s=older_than_s,
            keep=keep,
            answers=answers,
            graph=app.name,
            dry_run=dry_run,
            on_progress=on_progress,
        )
