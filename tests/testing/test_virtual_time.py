"""Virtual time: schedules that repeat under their seed, and stops that run nothing more."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from vertebra.testing import ShuffledLoop, Stopped, VirtualClock, run_shuffled


def schedule(seed: int | None, *, sleeping: bool = False) -> list[int]:
    order: list[int] = []

    async def worker(n: int) -> None:
        for _ in range(3):
            await asyncio.sleep(1 if sleeping else 0)
            order.append(n)

    async def main() -> None:
        await asyncio.gather(*(worker(n) for n in range(6)))

    run_shuffled(main, seed=seed)
    return order


@pytest.mark.parametrize("sleeping", [False, True])
def test_a_seed_repeats_and_seeds_differ(sleeping):
    assert schedule(7, sleeping=sleeping) == schedule(7, sleeping=sleeping)
    assert len({tuple(schedule(seed, sleeping=sleeping)) for seed in range(20)}) > 15
    assert schedule(None, sleeping=sleeping) == schedule(None, sleeping=sleeping)


def test_without_a_seed_the_order_is_asyncios():
    assert schedule(None) == [0, 1, 2, 3, 4, 5] * 3


def test_a_race_that_the_usual_order_hides_shows_under_some_seed():
    async def read_before_write() -> str:
        box = ["empty"]

        async def write() -> None:
            box[0] = "full"

        async def read() -> str:
            return box[0]

        _, seen = await asyncio.gather(write(), read())
        return seen

    assert run_shuffled(read_before_write, seed=None) == "full"
    assert {run_shuffled(read_before_write, seed=seed) for seed in range(20)} == {"full", "empty"}


@pytest.mark.parametrize("seed", [None, 3])
def test_callbacks_keep_the_order_that_asyncio_promises(seed):
    seen: list[int] = []

    async def main() -> None:
        for n in range(20):
            asyncio.get_running_loop().call_soon(seen.append, n)
        await asyncio.sleep(1)

    run_shuffled(main, seed=seed)
    assert seen == list(range(20))


@pytest.mark.parametrize("seed", [None, 3])
def test_sleeps_cost_nothing_and_timers_keep_their_order(seed):
    seen: list[float] = []

    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append(seconds)

    async def main() -> float:
        await asyncio.gather(*(nap(s) for s in (3600, 5, 86400, 0.5)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1000)
        return asyncio.get_running_loop().time()

    begun = time.perf_counter()
    assert run_shuffled(main, seed=seed) == 87400
    assert time.perf_counter() - begun < 5
    assert seen == [0.5, 5, 3600, 86400]


@pytest.mark.parametrize("seed", [None, 3])
def test_cancelled_timers_do_not_move_time(seed):
    async def main() -> float:
        loop = asyncio.get_running_loop()
        for n in range(300):
            loop.call_later(n + 1, print).cancel()
        await asyncio.sleep(1000)
        return loop.time()

    assert run_shuffled(main, seed=seed) == 1000


@pytest.mark.parametrize("seed", [None, 3])
def test_jobs_on_threads_are_waited_for(seed):
    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.05):
            done = await asyncio.gather(*(asyncio.to_thread(_nap, n) for n in range(4)))
        heard = asyncio.Event()
        threading.Timer(0.05, loop.call_soon_threadsafe, (heard.set,)).start()
        await heard.wait()
        return sum(done), loop.time()

    assert run_shuffled(main, seed=seed) == (6, 0)


def _nap(n: int) -> int:
    time.sleep(0.1)
    return n


def test_jobs_on_threads_do_not_disturb_the_schedule():
    def order() -> list[int]:
        seen: list[int] = []

        async def worker(n: int) -> None:
            for _ in range(3):
                await asyncio.to_thread(time.sleep, 0.001 * (n % 2))
                await asyncio.sleep(0)
                seen.append(n)

        async def main() -> None:
            await asyncio.gather(*(worker(n) for n in range(6)))

        run_shuffled(main, seed=11)
        return seen

    first = order()
    assert [order() for _ in range(10)] == [first] * 10


def test_a_job_that_waits_for_the_loop_does_not_stop_time():
    async def main() -> str:
        loop = asyncio.get_running_loop()

        def job() -> str:
            future: concurrent.futures.Future[str] = asyncio.run_coroutine_threadsafe(slow(), loop)
            return future.result(10)

        async def slow() -> str:
            await asyncio.sleep(1000)
            return "answered"

        return await loop.run_in_executor(None, job)

    assert run_shuffled(main) == "answered"


def test_a_job_that_fails_is_told():
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        await asyncio.sleep(10)

    run_shuffled(main)


def test_stopped_anywhere_nothing_more_runs():
    ran: list[str] = []

    async def main() -> None:
        try:
            for n in range(50):
                await asyncio.sleep(1)
                ran.append(str(n))
        finally:
            ran.append("finally")

    with pytest.raises(Stopped):
        run_shuffled(main, stop_after=20)
    before = list(ran)
    assert 0 < len(before) < 50
    import gc

    gc.collect()
    assert ran == before
    run_shuffled(main, stop_after=100_000)
    assert ran[-1] == "finally"


def test_the_stop_is_at_the_same_place_under_the_same_seed():
    def until(stop_after: int) -> list[int]:
        seen: list[int] = []

        async def worker(n: int) -> None:
            while True:
                await asyncio.sleep(0.1)
                seen.append(n)

        async def main() -> None:
            await asyncio.gather(*(worker(n) for n in range(5)))

        with pytest.raises(Stopped):
            run_shuffled(main, seed=5, stop_after=stop_after)
        return seen

    assert until(30) == until(30)
    assert until(40)[: len(until(30))] == until(30)


NOISE = """
import asyncio, time
from vertebra.testing import run_shuffled, Stopped
async def generate():
    try:
        while True:
            await asyncio.sleep(1)
            yield 1
    finally:
        await asyncio.sleep(1)
        print("cleaned")
async def worker():
    try:
        async for _ in generate(): pass
    finally:
        print("cleaned"); await asyncio.sleep(1)
async def main():
    job = asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)
    await asyncio.gather(worker(), worker(), asyncio.shield(worker()))
for n in range(1, 30, 3):
    try: run_shuffled(main, seed=n, stop_after=n)
    except Stopped: pass
time.sleep(0.2)
print("end")
"""


def test_a_stop_makes_no_noise_even_at_exit():
    done = subprocess.run([sys.executable, "-X", "dev", "-c", NOISE], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)


def test_tasks_left_over_are_cancelled_and_errors_come_through():
    ended: list[str] = []

    async def left_over() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        asyncio.get_running_loop().create_task(left_over())
        await asyncio.sleep(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_shuffled(main, stop_after=1000)
    assert ended == ["cancelled"]


def test_the_clock_follows_the_loop_and_never_goes_back():
    clock = VirtualClock()
    start = clock.now()
    assert start == datetime(2026, 1, 1, tzinfo=UTC)

    async def main() -> tuple[datetime, datetime]:
        await clock.sleep(60)
        clock.advance(5)
        return clock.now(), await asyncio.to_thread(clock.now)

    first = run_shuffled(main)
    assert first == (start + timedelta(seconds=65),) * 2
    assert run_shuffled(main)[0] == start + timedelta(seconds=130)


def test_the_clock_by_hand_on_an_ordinary_loop(virtual_clock):
    asyncio.run(virtual_clock.sleep(3600))
    virtual_clock.advance(1)
    assert virtual_clock.now() == datetime(2026, 1, 1, 1, 0, 1, tzinfo=UTC)


def test_the_seams_of_asyncio_are_where_they_were():
    loop = ShuffledLoop(0)
    try:
        for name in ("_ready", "_scheduled", "_selector", "_process_events", "_timer_cancelled_count", "_run_once"):
            assert hasattr(loop, name), name
    finally:
        loop.close()
