"""When a writer counts as dead, and that of two processes that race for a thread one wins."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpointers.parts import START, alive, dead
from vertebra import open_checkpointer
from vertebra.checkpointers.lease import UNKNOWN, Holder, is_dead, new_holder, process_start
from vertebra.errors import ThreadBusy

FUTURE, NOW = 100.0, 50.0


def gone() -> int:
    """The pid of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return child.pid


def test_this_process_is_alive_until_its_lease_runs_out() -> None:
    assert not is_dead(new_holder(), FUTURE, NOW)
    assert is_dead(new_holder(), NOW, NOW)


def test_a_process_that_is_gone_is_dead_at_once() -> None:
    assert is_dead(dataclasses.replace(new_holder(), pid=gone()), FUTURE, NOW)


def test_a_pid_that_another_process_has_now_is_dead_at_once() -> None:
    assert is_dead(dead(), FUTURE, NOW)


def test_a_zombie_is_dead() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    while "Z" not in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]:
        pass
    try:
        assert process_start(child) is None
        assert is_dead(dataclasses.replace(new_holder(), pid=child), FUTURE, NOW)
    finally:
        os.waitpid(child, 0)


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"boot": "another boot"}, {"boot": UNKNOWN}])
def test_of_another_host_or_boot_only_the_clock_is_known(other: dict[str, str]) -> None:
    holder = dataclasses.replace(new_holder(), pid=gone(), **other)
    assert not is_dead(holder, FUTURE, NOW)
    assert is_dead(holder, FUTURE, FUTURE + 1)


def test_a_bare_pid_proves_nothing() -> None:
    assert not is_dead(dataclasses.replace(new_holder(), started=UNKNOWN), FUTURE, NOW)


def test_a_holder_is_kept_as_text_and_no_two_are_one() -> None:
    holder = new_holder()
    assert Holder.from_text(holder.to_text()) == holder
    assert new_holder() != new_holder()
    assert str(holder) == f"process {os.getpid()} on {holder.host}"


async def test_a_dead_holder_is_replaced_at_once_and_a_living_one_is_not(durable_url: str) -> None:
    with open_checkpointer(durable_url) as store:
        await store.runs.begin("elsewhere", START, dataclasses.replace(dead(), host="elsewhere"), 0.5)
        await store.runs.begin("here", START, dataclasses.replace(alive(), pid=gone()), 500.0)
        await store.runs.take("here", alive(), 30.0)
        with pytest.raises(ThreadBusy, match="on elsewhere"):
            await store.runs.take("elsewhere", alive(), 30.0)
        await asyncio.sleep(0.55)
        await store.runs.take("elsewhere", alive(), 30.0)


def test_a_killed_process_is_replaced_at_once(durable_url: str) -> None:
    """Really killed, with most of its lease to run."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open_checkpointer(durable_url) as store:
                asyncio.run(store.runs.begin("t", START, new_holder(), 500.0))
                os.write(told, b"!")
                signal.pause()
        finally:
            os._exit(1)
    os.read(ready, 1)
    with open_checkpointer(durable_url) as store:
        with pytest.raises(ThreadBusy, match=f"process {child} on"):
            asyncio.run(store.runs.take("t", new_holder(), 30.0))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        record, lease = asyncio.run(store.runs.take("t", new_holder(), 30.0))
        assert (record.recoveries, lease.epoch) == (1, 2)


_RACE = """
import asyncio, sys
from tests.checkpointers.parts import START
from vertebra import open_checkpointer
from vertebra.checkpointers.lease import new_holder
from vertebra.errors import ThreadBusy

async def race(store, name):
    try:
        if name.startswith("new"):
            await store.runs.begin(name, START, new_holder(), 500.0)
        else:
            await store.runs.take(name, new_holder(), 500.0)
        print(name)
    except ThreadBusy:
        pass

with open_checkpointer(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(15):
        asyncio.run(race(store, f"new {n}"))
        asyncio.run(race(store, f"dead {n}"))
    print("raced", flush=True)
    sys.stdin.readline()
"""


def test_of_two_processes_that_race_for_a_lease_exactly_one_wins(durable_url: str) -> None:
    with open_checkpointer(durable_url) as store:
        for n in range(15):
            asyncio.run(store.runs.begin(f"dead {n}", START, dead(), 500.0))
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACE, durable_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    won: list[list[str]] = []
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:  # both live until both have raced: a winner that has ended may be replaced
        assert racer.stdout is not None
        won.append(list(iter(lambda lines=racer.stdout: lines.readline().strip(), "raced")))
    for racer in racers:
        racer.communicate("end\n", timeout=60)
        assert racer.returncode == 0
    names = [f"{kind} {n}" for kind in ("new", "dead") for n in range(15)]
    assert sorted(won[0] + won[1]) == sorted(names)
