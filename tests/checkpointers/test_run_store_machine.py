"""The run store against a model of a dozen lines: any order of calls, by holders living, dead and replaced."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.checkpointers.parts import ERROR, OTHER, START, alive, dead
from tests.servers import postgres
from vertebra import open_checkpointer
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.leasing import Start
from vertebra.errors import (
    CrashLoop,
    LeaseLost,
    ThreadBusy,
    ThreadCancelled,
    ThreadError,
    ThreadNotFinished,
    ThreadNotFound,
)
from vertebra.types import RunStatus

T = TypeVar("T")
CAP = 2


@dataclasses.dataclass
class Thread:
    """What must be known of a thread to foretell every answer of the store."""

    input: bytes | None
    status: str = "running"
    held_by_living: bool = False
    lease: Lease | None = None
    epoch: int = 1
    recoveries: int = 0
    cancel: bool = False
    aside: bool = False

    def let_go(self, status: str) -> None:
        self.status, self.lease, self.held_by_living, self.cancel, self.aside = status, None, False, False, False


class RunStoreMachine(RuleBasedStateMachine):
    """``url`` is set by the subclass that a test makes."""

    leases = Bundle("leases")
    names = st.sampled_from(["a", "b"])
    living = st.booleans()

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Thread] = {}
        self.folder = tempfile.TemporaryDirectory()
        self.server: Any = None
        if self.url:
            self.server = postgres.fresh_database(self.url)
            url = self.server.__enter__()
        else:
            url = f"sqlite:///{self.folder.name}/threads.db?durability=process"
        self.store = open_checkpointer(url)
        self.runs = self.store.runs

    def teardown(self) -> None:
        self.store.close()
        if self.server is not None:
            self.server.__exit__(None, None, None)
        self.folder.cleanup()

    def outcome(self, work: Coroutine[Any, Any, T]) -> T | type[ThreadError]:
        try:
            return asyncio.run(work)
        except ThreadError as error:
            return type(error)

    def expected_take(self, name: str, *, by_hand: bool) -> type[ThreadError] | None:
        """Why a thread cannot be taken; what taking does to the model where it can."""
        thread = self.model.get(name)
        if thread is None:
            return ThreadNotFound
        if thread.held_by_living:
            return ThreadBusy
        if thread.status == "cancelled":
            return ThreadCancelled
        if thread.cancel:
            thread.let_go("cancelled")
            thread.epoch += 1
            return ThreadCancelled
        if not by_hand and thread.status != "running":
            return ThreadBusy
        died = int(thread.status == "running" and thread.lease is not None)
        recoveries = (0 if by_hand else thread.recoveries) + died
        if not by_hand and died and recoveries > CAP:
            return CrashLoop
        thread.status, thread.recoveries, thread.epoch = "running", recoveries, thread.epoch + 1
        thread.aside = False
        return None

    def held(self, found: Any, living: bool) -> tuple[Lease, bool]:
        assert isinstance(found, tuple), found
        lease: Lease = found[1]
        self.model[lease.thread].lease, self.model[lease.thread].held_by_living = lease, living
        return lease, living

    @initialize()
    def empty(self) -> None:
        assert asyncio.run(self.runs.threads()) == []

    @rule(target=leases, name=names, start=st.sampled_from([START, OTHER]), living=living)
    def begin(self, name: str, start: Start, living: bool) -> Any:
        found = self.outcome(self.runs.begin(name, start, alive() if living else dead(), 500.0, max_recoveries=CAP))
        thread = self.model.get(name)
        if thread is not None and thread.held_by_living:
            assert found is ThreadBusy
            return multiple()
        if thread is not None and thread.cancel:
            thread.let_go("cancelled")
            thread.epoch += 1
        if thread is not None and thread.status in ("running", "interrupted", "failed"):
            if thread.status == "interrupted" or thread.input != start.input:
                assert found is ThreadNotFinished
                return multiple()
            refused = CrashLoop if thread.aside else self.expected_take(name, by_hand=thread.status != "running")
            if refused is not None:
                assert found is refused, (found, refused)
                return multiple()
        else:
            self.model[name] = Thread(start.input, epoch=1 if thread is None else thread.epoch + 1)
        return self.held(found, living)

    @rule(target=leases, name=names, living=living, by_hand=st.booleans())
    def take(self, name: str, living: bool, by_hand: bool) -> Any:
        found = self.outcome(
            self.runs.take(name, alive() if living else dead(), 500.0, by_hand=by_hand,
                           max_recoveries=None if by_hand else CAP)
        )  # fmt: skip
        refused = self.expected_take(name, by_hand=by_hand)
        if refused is not None:
            assert found is refused, (found, refused)
            return multiple()
        return self.held(found, living)

    def current(self, lease: Lease) -> bool:
        thread = self.model.get(lease.thread)
        return thread is not None and thread.lease == lease

    @rule(lease=leases)
    def renew(self, lease: tuple[Lease, bool]) -> None:
        renewal = self.runs.renew_sync(lease[0])
        held = self.current(lease[0])
        assert renewal.held == held
        assert renewal.cancel_requested == (held and self.model[lease[0].thread].cancel)

    @rule(lease=leases)
    def progress(self, lease: tuple[Lease, bool]) -> None:
        asyncio.run(self.runs.progressed(lease[0], "checkpoint"))
        if self.current(lease[0]):
            self.model[lease[0].thread].recoveries = 0

    @rule(lease=consumes(leases), status=st.sampled_from(["running", "interrupted", "done", "failed", "cancelled"]))
    def finish(self, lease: tuple[Lease, bool], status: RunStatus) -> None:
        found = self.outcome(self.runs.finish(lease[0], status, None))
        if not self.current(lease[0]):
            assert found is LeaseLost
            return
        assert found is None
        thread = self.model[lease[0].thread]
        cancelled = status == "cancelled" or (thread.cancel and status != "done")
        thread.epoch += int(cancelled)
        thread.let_go("cancelled" if cancelled else status)

    @rule(name=names)
    def cancel(self, name: str) -> None:
        found, thread = self.outcome(self.runs.request_cancel(name)), self.model.get(name)
        if thread is None:
            assert found is ThreadNotFound
        elif thread.held_by_living:
            assert found is False
            thread.cancel = True
        else:
            assert found is True
            if thread.status in ("running", "interrupted", "failed"):
                thread.let_go("cancelled")
                thread.epoch += 1

    @rule(name=names)
    def set_aside(self, name: str) -> None:
        asyncio.run(self.runs.set_aside(name, {**ERROR, "code": CrashLoop.code}))
        thread = self.model.get(name)
        if thread is not None and thread.status == "running" and not thread.held_by_living:
            thread.let_go("failed")
            thread.epoch += 1
            thread.aside = True

    @rule(name=names)
    def delete(self, name: str) -> None:
        found, thread = self.outcome(self.runs.delete(name)), self.model.get(name)
        if thread is not None and thread.held_by_living:
            assert found is ThreadBusy
        else:
            assert found is None
            self.model.pop(name, None)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        records = {record.thread: record for record in asyncio.run(self.runs.threads())}
        assert set(records) == set(self.model)
        for name, thread in self.model.items():
            record = records[name]
            assert (record.status, record.input, record.recoveries) == (thread.status, thread.input, thread.recoveries)
            assert (record.holder is not None, record.lease_epoch) == (thread.lease is not None, thread.epoch)
            assert record.cancel_requested == thread.cancel
        dead = [n for n, t in self.model.items() if t.status == "running" and not t.held_by_living]
        assert sorted(asyncio.run(self.runs.recoverable())) == sorted(dead)


def _run(url: str, examples: int) -> None:
    class Machine(RunStoreMachine):
        pass

    Machine.url = url
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=quiet, database=None
        ),
    )


@pytest.mark.hypothesis
def test_any_order_of_calls_on_sqlite() -> None:
    _run("", 40)


@pytest.mark.hypothesis
@pytest.mark.timeout(300)
def test_any_order_of_calls_on_postgres(postgres_server: str) -> None:
    _run(postgres_server, 8)
