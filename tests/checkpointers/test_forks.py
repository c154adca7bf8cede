"""The id of a fork that is being made: one process at a time has it, and loses it with its life or its time."""

from __future__ import annotations

import dataclasses

import pytest

from vertebra import open_checkpointer
from vertebra.checkpointers import forks
from vertebra.checkpointers.forks import Fork
from vertebra.checkpointers.lease import new_holder
from vertebra.checkpointers.leasing import Start
from vertebra.errors import LeaseLost, ThreadBusy, ThreadExists


async def test_a_reservation_is_one_holders(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        start = Start("r", "g", "1", "f", {}, None, None)
        parent, _ = await store.runs.begin("t", start, new_holder(), 30.0)
        one, two = new_holder(), new_holder()
        await store.forks.reserve("f", one)
        with pytest.raises(ThreadBusy, match="is just forking to 'f'"):
            await store.forks.reserve("f", two)
        await store.forks.release("f", two)  # not its own: nothing happens
        fork = Fork("f", "r2", "done", parent, "c", False, (), "", {})
        with pytest.raises(LeaseLost):
            await store.forks.make(fork, two)
        await store.forks.release("f", one)
        with pytest.raises(LeaseLost):
            await store.forks.make(fork, one)
        gone = dataclasses.replace(one, pid=one.pid, started="1")  # a process that had this pid before
        await store.forks.reserve("f", gone)
        await store.forks.reserve("f", two)
        await store.forks.make(fork, two)
        assert await store.forks.of("t") == ["f"]
        with pytest.raises(ThreadExists):
            await store.forks.reserve("f", one)
        record = await store.runs.require("f")
        assert (record.parent, record.parent_checkpoint, record.seed, record.holder) == ("t", "c", "t", None)
        assert await store.runs.recoverable() == []


async def test_what_is_inherited_names_who_paid_for_it(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        start = Start("r", "g", "1", "f", {}, None, None)
        parent, _ = await store.runs.begin("t", start, new_holder(), 30.0)
        names = [f"n@{number}" for number in range(forks._AT_ONCE + 5)]
        for name in names:
            await store.journal.record_value("t", name, "now:0", name)
        await store.journal.advance_epoch("t", names[-1], frozenset({("h", 0)}), "because")
        assert sorted(await store.forks.visits("t")) == sorted(names)
        holder = new_holder()
        await store.forks.reserve("f", holder)
        await store.forks.make(Fork("f", "r2", "done", parent, "c", False, tuple(names), "", {}), holder)
        assert sorted(await store.forks.visits("f")) == sorted(names)
        assert await store.journal.record_value("f", names[-1], "now:0", "later") == names[-1]
        assert await store.journal.epochs("f", names[-1]) == [frozenset({("h", 0)})]
