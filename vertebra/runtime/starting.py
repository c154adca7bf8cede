"""How a drive begins: with a new run of its thread, or where that stands."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.lease import new_holder
from vertebra.checkpointers.leasing import Start
from vertebra.errors import CrashLoop, ThreadCancelled, ThreadNotFound, UsageError
from vertebra.ports import crash_point
from vertebra.runtime.answering import accept_answer
from vertebra.runtime.driving import Drive
from vertebra.runtime.listening import UNSET
from vertebra.runtime.outcome import run_of
from vertebra.runtime.recovering import progress_of, set_aside
from vertebra.runtime.scope import Listener
from vertebra.runtime.session import patiently
from vertebra.runtime.steering import sample_afresh, skip_node
from vertebra.runtime.versions import brought_up
from vertebra.types import Run

if TYPE_CHECKING:
    from vertebra.runtime.app import App


@dataclass(frozen=True)
class Caller:
    """On whose behalf a thread is driven, how long they wait for another writer, and who listens."""

    principal: Any
    wait_s: float
    listener: Listener | None

    @property
    def id(self) -> str | None:
        """Under which the principal is recorded."""
        if self.principal is None or isinstance(self.principal, str):
            return self.principal
        return str(getattr(self.principal, "id", self.principal))


async def start_run(app: App, thread: str, caller: Caller, input: Any) -> Run:
    """What ``App.run`` does."""
    services = app.services
    known = await services.store.runs.get(thread)
    if known is not None and known.status in ("running", "failed", "interrupted"):
        await brought_up(app, known, caller.id, caller.wait_s)
    values = app.read_input(input, fresh=known is None)
    start = start_of(app, values, caller.id)
    progress = None if known is None else await progress_of(app, thread)
    try:
        record, lease = await patiently(
            lambda: services.store.runs.begin(
                thread,
                start,
                new_holder(),
                services.lease_ttl_s,
                max_recoveries=services.max_recoveries,
                progress=progress,
                known=known is not None,
            ),
            services.clock,
            caller.wait_s,
        )
    except CrashLoop as error:
        return await set_aside(app, thread, error)
    except ThreadNotFound:  # deleted or pruned since: it begins anew, with the defaults of its state
        return await start_run(app, thread, caller, input)
    drive = Drive(app, record, lease, principal=caller.principal, listener=caller.listener, given=values)
    return await drive.to_run()


async def resume_run(
    app: App,
    thread: str,
    caller: Caller,
    *,
    answer: Any,
    interrupt_id: str | None,
    skip: Any,
    update: Any,
    fresh: Any,
) -> Run:
    """What ``App.resume`` does."""
    store = app.services.store
    before = await brought_up(app, await store.runs.require(thread), caller.id, caller.wait_s)
    if answer is not UNSET:
        is_new = await accept_answer(app, before, answer, interrupt_id, caller.id)
        crash_point("answer.recorded")
        if not is_new and before.status != "interrupted":
            return await run_of(app, before)
    elif before.status == "cancelled":
        raise ThreadCancelled(f"Thread {thread!r} was cancelled.", thread=thread)
    elif before.status == "done":
        return await run_of(app, before)
    elif before.status == "interrupted" and skip is None and fresh is None:
        standing = await run_of(app, before)
        if standing.interrupts:
            return standing
    record, lease = await patiently(
        lambda: store.runs.take(thread, new_holder(), app.services.lease_ttl_s, by_hand=True),
        app.services.clock,
        caller.wait_s,
    )
    drive = Drive(app, record, lease, principal=caller.principal, listener=caller.listener, given=None)
    drive.before = before
    if skip is not None:
        await drive.prepared(skip_node(app, record, drive.scope.journal, skip, update, caller.id))
    if fresh is not None:
        await drive.prepared(sample_afresh(app, record, drive.scope.journal, fresh, caller.id))
    return await drive.to_run()


def start_of(app: App, values: dict[str, Any], by: str | None) -> Start:
    """A fresh run of the app's graph, with these values of its state."""
    return Start(
        run_id=uuid.uuid4().hex,
        graph=app.name,
        version=app.version,
        fingerprint=app.fingerprint,
        shape=app.shape,
        input=app.pack(values),
        principal=by,
    )


def thread_or_fresh(given: str | None) -> str:
    """The id of a thread, or one that none has. Raises ``UsageError``."""
    if given is None:
        return uuid.uuid4().hex
    if not isinstance(given, str) or not given:
        raise UsageError(
            f"{given!r} is no thread id.", remedy="pass a string that is not empty, or nothing for a fresh thread."
        )
    return given
