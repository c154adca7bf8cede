"""What encryption costs: the same supersteps on SQLite with and without a key, interleaved, synced at each commit.

CPU time of the process is compared beside the time that passed, since a sync takes longer than anything sealed by it.

    python benchmarks/encryption.py [--steps 200] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.checkpointers import drive
from vertebra import open_checkpointer

WARM_STEPS = 20


def measure(size_kb: int, steps: int, key: str | None) -> tuple[float, float]:
    """Microseconds a superstep: of CPU, and on the clock."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_checkpointer(f"sqlite:///{folder}/state.db", encryption=key) as store,
    ):
        asyncio.run(drive(store.saver, "warm", "strings", size_kb, WARM_STEPS))
        cpu, wall = time.process_time(), time.perf_counter()
        asyncio.run(drive(store.saver, "t", "strings", size_kb, steps))
        return 1e6 * (time.process_time() - cpu) / steps, 1e6 * (time.perf_counter() - wall) / steps


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    key = base64.b64encode(os.urandom(32)).decode()
    print("| KB a step | CPU us plain | CPU us encrypted | us plain | us encrypted |\n|---|---|---|---|---|")
    for size_kb in (0, 1, 20):
        pairs = [[measure(size_kb, given.steps, used) for used in (None, key)] for _ in range(given.rounds)]
        plain, sealed = (tuple(min(r[side][n] for r in pairs) for n in (0, 1)) for side in (0, 1))
        print(f"| {size_kb} | {plain[0]:.0f} | {sealed[0]:.0f} | {plain[1]:.0f} | {sealed[1]:.0f} |")


if __name__ == "__main__":
    main()
