"""The latest state of a thread on SQLite: read first by a process, and again; ours beside LangGraph's saver, in turns.

Each sample is a process of its own, forked when all is imported: memory that one reader has made its own would
else be a gift to the next.

python benchmarks/latest.py [STEPS ...]    # 200 400 by default, half a minute
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from langchain_core.messages import HumanMessage

from benchmarks._savers import SQLITE
from vertebra.testing.conformance_checks import at, put

ROUNDS, AGAIN = 30, 3


def items_of(kind: str, count: int) -> list[Any]:
    text = [f"{n:08}".ljust(1024, "x") for n in range(count)]
    return text if kind == "strings" else [HumanMessage(item, id=f"m{n}") for n, item in enumerate(text)]


async def write(opened: Any, place: Path, kind: str, lengths: range) -> None:
    whole = items_of(kind, lengths[-1])
    async with opened(place) as saver:
        config = None
        for length in lengths:
            config = await put(saver, "t", {kind: whole[:length]}, after=config)


async def read(opened: Any, place: Path) -> list[float]:
    """Microseconds of the first read and of those that follow it."""
    times = []
    async with opened(place) as saver:
        await saver.aget_tuple(at("other"))  # connections and pages, not imports
        for _ in range(1 + AGAIN):
            began = time.perf_counter()
            assert await saver.aget_tuple(at("t")) is not None
            times.append((time.perf_counter() - began) * 1e6)
    return times


def read_apart(opened: Any, place: Path) -> list[float]:
    """``read`` in a process that has read nothing."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(theirs, json.dumps(asyncio.run(read(opened, place))).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    times: list[float] = json.loads(answer)
    return times


def measure(kind: str, steps: int) -> dict[str, float]:
    """Microseconds, the least of all rounds. Ours grew a step at a time; what theirs keeps does not depend on that."""
    best: dict[str, float] = {}
    # A file each: ours would read what LangGraph's saver keeps in the same one, too.
    with SQLITE.place() as our_place, SQLITE.place() as their_place:
        asyncio.run(write(SQLITE.ours, our_place, kind, range(1, steps + 1)))
        asyncio.run(write(SQLITE.theirs, their_place, kind, range(steps, steps + 1)))
        for _ in range(ROUNDS):
            for whose, opened, place in (("ours", SQLITE.ours, our_place), ("theirs", SQLITE.theirs, their_place)):
                first, *again = read_apart(opened, place)
                for name, taken in ((f"{whose} first", first), (f"{whose} again", min(again))):
                    best[name] = min(best.get(name, float("inf")), taken)
    return best


def main() -> None:
    print("| items of 1 KB | first read of a process, us | ratio | again, us | ratio |\n|---|---|---|---|---|")
    for steps in [int(given) for given in sys.argv[1:]] or [200, 400]:
        for kind in ("strings", "messages"):
            best = measure(kind, steps)
            cells = [(best[f"ours {which}"], best[f"theirs {which}"]) for which in ("first", "again")]
            print(f"| {steps} {kind} |", " | ".join(f"{a:.0f} | {a / b:.2f}" for a, b in cells), "|", flush=True)
    if len(sys.argv) == 1:
        print("\nLonger lists, of which one run takes minutes: python benchmarks/latest.py 1000 2000")


if __name__ == "__main__":
    main()
