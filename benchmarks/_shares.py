"""What the time of a superstep is spent on, by py-spy: shares of the samples of the event loop's thread.

    pip install py-spy
    python benchmarks/_shares.py [sqlite | postgres | none] [KB a step] [STEPS]

The loop's thread is sampled whether it works or waits, so that its samples are the time. While it waits, the saver's
own thread works (statements, the commit), or one of them is being woken: that is what is left, the hops.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

RATE = 50  # samples a second: each stops the process for a moment

TURNS = 10
EXACTLY = ("chrt", "-f", "10") if shutil.which("chrt") and os.geteuid() == 0 else ()
"""A sampler that waits for a processor finds what is looked at waiting, too."""

WAITS, HOPS = "waits", "thread hops, and the loop's own waking"
STATEMENTS, COMMIT, SERVER = (
    "SQL but the commit",
    "commit: the log written and synced",
    "Postgres: the driver, and waiting for the server",
)
PARTS = (  # of what the loop's thread does, the innermost frame counts
    ("serialiser", ("ormsgpack", "langgraph/checkpoint/serde")),
    ("pieces", ("vertebra/checkpointers/pieces",)),
    ("checkpointer, in the loop's thread", ("vertebra/", "psycopg")),
)
ENGINE = "engine: LangGraph, asyncio, the graph's node"


def part_of_loop(frames: list[str]) -> str:
    if "selectors.py" in frames[-1]:
        return WAITS
    for frame in reversed(frames):
        for part, marks in PARTS:
            if any(mark in frame for mark in marks):
                return part
    return ENGINE


def part_of_saver(frames: list[str]) -> str | None:
    """None where it waits for work."""
    if "threading.py" in frames[-1] or "thread.py" in frames[-1] or frames[-1].startswith("Flusher._run "):
        return None
    if "asyncio_" in frames[0]:
        return ENGINE  # where LangGraph runs nodes and routers that are no coroutines
    if not any("vertebra/" in frame or "aiosqlite/" in frame for frame in frames):
        return None
    if any("psycopg" in frame for frame in frames):
        return SERVER
    return COMMIT if "Writer._transact" in frames[-1] and _is_commit(frames[-1]) else STATEMENTS


def _is_commit(frame: str) -> bool:
    path, _, line = frame.rpartition("(")[2].rstrip(")").rpartition(":")
    return "COMMIT" in Path(path).read_text().splitlines()[int(line) - 1]


def shares(samples: str) -> Counter[str]:
    """Samples of the loop's thread by part, those in which it waited by what the saver's thread did."""
    found: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if any("_run_once" in frame for frame in frames):
            found[part_of_loop(frames)] += int(count)
        elif (part := part_of_saver(frames)) is not None:
            elsewhere[part] += int(count)
    waits = found.pop(WAITS, 0)
    for part, count in elsewhere.items():
        counted = min(count, waits)
        found[part] += counted
        waits -= counted
    found[HOPS] = waits
    return found


async def child(backend_name: str, size_kb: int, steps: int) -> None:
    from benchmarks._savers import SQLITE, postgres_server
    from benchmarks.checkpointers import drive

    if backend_name == "none":
        for _ in range(TURNS):
            await drive(None, "t", "strings", size_kb, steps)
        return
    with postgres_server(synced=True) if backend_name == "postgres" else nullcontext(SQLITE) as backend:
        with backend.place() as place:
            async with backend.ours(place) as saver:
                for turn in range(TURNS):
                    await drive(saver, f"t{turn}", "strings", size_kb, steps)


def main() -> None:
    given = sys.argv[1:]
    if given[:1] == ["--child"]:
        import benchmarks.checkpointers  # noqa: F401 # now: within the loop it would be counted

        asyncio.run(child(given[1], int(given[2]), int(given[3])))
        return
    backend, size, steps = (*given, *("sqlite", "1", "400")[len(given) :])
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / "samples"
        spy = [
            "py-spy",
            "record",
            "--nonblocking",
            "--idle",
            "--threads",
            "--full-filenames",
            "-r",
            str(RATE),
            "-f",
            "raw",
        ]
        command = [*(("chrt", "-o", "0") if EXACTLY else ()), sys.executable, __file__, "--child", backend, size, steps]
        subprocess.run([*spy, "-o", str(out), "--", *command], check=True, stdout=subprocess.DEVNULL)
        found = shares(out.read_text())
    total = sum(found.values())
    print(f"{backend}, {size} KB a step, {steps} steps: {total} samples\n\n| part | share |\n|---|---|")
    for part, count in found.most_common():
        print(f"| {part} | {count / total:.0%} |")


if __name__ == "__main__":
    main()
