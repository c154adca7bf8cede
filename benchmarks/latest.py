"""The latest state of a thread on SQLite: read first by a process, and again; ours beside LangGraph's saver, in turns.

python benchmarks/latest.py [STEPS ...]
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from langchain_core.messages import HumanMessage

from benchmarks._savers import SQLITE
from vertebra.testing.conformance_checks import at, put

ROUNDS = 20


def items_of(kind: str, count: int) -> list[Any]:
    text = [f"{n:08}".ljust(1024, "x") for n in range(count)]
    return text if kind == "strings" else [HumanMessage(item, id=f"m{n}") for n, item in enumerate(text)]


async def measure(kind: str, steps: int) -> dict[str, float]:
    """Microseconds, the least of all rounds. Ours grew a step at a time; what theirs keeps does not depend on that."""
    best: dict[str, float] = {}
    whole = items_of(kind, steps)
    # A file each: ours would read what LangGraph's saver keeps in the same one, too.
    with SQLITE.place() as our_place, SQLITE.place() as their_place:
        for opened, place, lengths in (
            (SQLITE.ours, our_place, range(1, steps + 1)),
            (SQLITE.theirs, their_place, (steps,)),
        ):
            async with opened(place) as saver:
                config = None
                for length in lengths:
                    config = await put(saver, "t", {kind: whole[:length]}, after=config)
        for _ in range(ROUNDS):
            for opened, place, whose in ((SQLITE.ours, our_place, "ours"), (SQLITE.theirs, their_place, "theirs")):
                async with opened(place) as saver:
                    await saver.aget_tuple(at("other"))  # connections and pages, not imports
                    for which in ("first", "again", "again", "again"):
                        began = time.perf_counter()
                        assert await saver.aget_tuple(at("t")) is not None
                        name = f"{whose} {which}"
                        best[name] = min(best.get(name, float("inf")), (time.perf_counter() - began) * 1e6)
    return best


async def main() -> None:
    print("| items of 1 KB | first read of a process, us | ratio | again, us | ratio |\n|---|---|---|---|---|")
    for steps in [int(given) for given in sys.argv[1:]] or [200, 400]:
        for kind in ("strings", "messages"):
            best = await measure(kind, steps)
            cells = [(best[f"ours {which}"], best[f"theirs {which}"]) for which in ("first", "again")]
            print(f"| {steps} {kind} |", " | ".join(f"{a:.0f} | {a / b:.2f}" for a, b in cells), "|", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
