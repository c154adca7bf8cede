"""The long form of the crash campaign: thousands of kills on every store, by as many workers as there are cores."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from queue import SimpleQueue
from random import Random

from tests.campaigns import twin
from tests.campaigns.killing import Killer
from tests.campaigns.plan import HOWS, at_instants, at_points
from tests.campaigns.tally import Results, Tally, tally_of
from tests.campaigns.twins import TwinKiller
from tests.servers.postgres import fresh_database
from tests.servers.preloaded import AtPoint, Crash, Preloaded
from vertebra.testing import CRASH_POINTS

STORES, TWINS = ("SQLite", "Postgres"), ("sync", "async")
INSTANT, TWICE, EVERY = "a random instant", "twice, the second time while recovering", "at every superstep"
SUPERSTEP_RUNS = 5
"""For each store and each end of a superstep's process: killed, exited, drained."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One run to kill: in a store of Vertebra's, or in the twin under one of LangGraph's durabilities."""

    place: str
    kind: str
    crashes: tuple[Crash, ...]


class Worker:
    """One parent to fork from, and everything that it kills in."""

    def __init__(self, server_url: str, stack: ExitStack) -> None:
        parent = stack.enter_context(Preloaded())
        urls = {"SQLite": "", "Postgres": stack.enter_context(fresh_database(server_url))}
        self.killers = {store: Killer(parent, url) for store, url in urls.items()}
        self.unkilled = {store: killer.unkilled() for store, killer in self.killers.items()}
        self.twins = {durability: TwinKiller(parent, durability) for durability in TWINS}

    def do(self, task: Task) -> Tally:
        """Kill once, and judge."""
        if task.place in self.twins:
            plain = self.twins[task.place]
            return tally_of(plain.kill(task.crashes[0]), plain.ideal)
        killer, unkilled = self.killers[task.place], self.unkilled[task.place]
        if task.kind == EVERY:
            outcome = killer.every_superstep(unkilled, *task.crashes)
        else:
            outcome = killer.kill(unkilled, *task.crashes)
        return tally_of(outcome, unkilled.paid)


def plan(kills: int, worker: Worker) -> list[Task]:
    """About ``kills`` kills of Vertebra, half of them in each store, and a tenth as many of each twin; shuffled."""
    found: list[Task] = []
    for place in STORES:
        known, share = worker.unkilled[place], kills // len(STORES)
        found += [_at(place, crash) for crash in at_points(CRASH_POINTS, known.passed, share // 2)]
        found += [_at(place, crash) for crash in at_instants(f"once {place}", share * 2 // 5)]
        pairs = list(at_instants(f"twice {place}", share // 20 * 2))
        found += [Task(place, TWICE, pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)]
        ends = [*((AtPoint("checkpoint.after", 1, how),) for how in HOWS), ()]
        found += [Task(place, EVERY, end) for end in ends for _ in range(SUPERSTEP_RUNS)]
    for place in TWINS:
        plain, share = worker.twins[place], kills // 10
        found += [_at(place, crash) for crash in at_points(twin.POINTS, plain.passed, share // 2)]
        found += [_at(place, crash) for crash in at_instants(f"twin {place}", share // 2)]
    Random("the order of the campaign").shuffle(found)
    return found


def _at(place: str, crash: Crash) -> Task:
    return Task(place, crash.point if isinstance(crash, AtPoint) else INSTANT, (crash,))


def run_campaign(server_url: str, kills: int, say: Say) -> Results:
    """Kill that often, and return what came of it. What is found wrong is collected, and said at once."""
    results, lock, begun = Results(), threading.Lock(), time.monotonic()
    with ExitStack() as stack:
        workers = [Worker(server_url, stack) for _ in range(os.cpu_count() or 1)]
        tasks = plan(kills, workers[0])
        waiting: SimpleQueue[Task | None] = SimpleQueue()
        for task in (*tasks, *(None for _ in workers)):
            waiting.put(task)
        say(f"{len(tasks)} runs are to be killed by {len(workers)} workers.")

        def note(task: Task, tally: Tally | None, wrong: str) -> None:
            with lock:
                if tally is None:
                    results.failures.append(f"{task}: {wrong}")
                    say(f"FAILED {results.failures[-1]}")
                else:
                    results.add(task.place, task.kind, tally)
                _report(results, len(tasks), time.monotonic() - begun, say)

        def work(worker: Worker) -> None:
            while (task := waiting.get()) is not None:
                try:
                    note(task, worker.do(task), "")
                except AssertionError as error:
                    note(task, None, str(error))

        with ThreadPoolExecutor(len(workers)) as pool:
            list(pool.map(work, workers))
    results.seconds = time.monotonic() - begun
    return results


def _report(results: Results, planned: int, elapsed_s: float, say: Say) -> None:
    done = sum(tally.runs for tally in results.tallies.values()) + len(results.failures)
    if done % 50 == 0 or done == planned:
        kills, left_s = results.over(STORES).deaths, (planned - done) * elapsed_s / done
        say(
            f"{done}/{planned} runs, {kills} kills of Vertebra, {len(results.failures)} failures, "
            f"{elapsed_s:.0f} s, about {left_s:.0f} s to go"
        )
