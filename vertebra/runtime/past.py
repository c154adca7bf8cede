"""The past runs of a graph as its bounds take them: visits, calls and tokens by the path of each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vertebra.nodes.visit import path_of, stands_in
from vertebra.types import PastRun, Usage

if TYPE_CHECKING:
    from vertebra.checkpointers import Store

THREADS = 1000
"""The latest ones: what a graph cost a year ago says little of it."""


async def past_of(store: Store, graph: str, fingerprint: str, threads: int = THREADS) -> Sequence[PastRun]:
    """What ``App.past`` does. A call counts with the run that made it, and is none of the runs that took it over."""
    visits: dict[tuple[str, str], Counter[str]] = {}
    usage: dict[tuple[str, str], dict[str, Usage]] = {}
    for tally in await store.tallies.of(graph, fingerprint, threads=threads):
        run, node = (tally.thread, tally.run_id), "/".join(path_of(tally.visit))
        of_run = visits.setdefault(run, Counter())
        of_run[node] += tally.took_place or stands_in(tally.visit)
        if tally.calls:
            spent = Usage(tally.calls, input_tokens=tally.input_tokens, output_tokens=tally.output_tokens)
            sums = usage.setdefault(run, {})
            sums[node] = sums.get(node, Usage()) + spent
    return [PastRun(*run, dict(of_run), usage.get(run, {})) for run, of_run in visits.items()]


__all__ = ["past_of"]
