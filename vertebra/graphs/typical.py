"""What the runs on record of a graph came to: visits, calls and tokens of each node, in half of them and in nearly all.

The figures are nearest ranks: the median is the least number that half of the runs do not exceed, p95 the least that 95
of 100 do not. So each is a number that some run really had, even where there are few of them. A run that did not come
to a node has 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from vertebra.types import PastRun, Usage


@dataclass(frozen=True, slots=True)
class Spread:
    """One number over many runs: in half of them it is at most ``median``, in 95 of 100 ``p95``, in all ``most``."""

    median: int = 0
    p95: int = 0
    most: int = 0

    @classmethod
    def of(cls, counts: Iterable[int]) -> Spread:
        """By nearest rank.

        Example::

            >>> Spread.of([3, 1, 2, 9])
            Spread(median=2, p95=9, most=9)
        """
        ranked = sorted(counts)
        return cls(_rank(ranked, 50), _rank(ranked, 95), ranked[-1]) if ranked else cls()


def _rank(ranked: Sequence[int], percent: int) -> int:
    return ranked[-(-percent * len(ranked) // 100) - 1]


@dataclass(frozen=True, slots=True)
class Typical:
    """What ``runs`` past runs came to, by node (``outer/inner`` within a subgraph) and in all. Tokens: in and out."""

    runs: int
    visits: dict[str, Spread] = field(default_factory=dict)
    calls: dict[str, Spread] = field(default_factory=dict)
    tokens: dict[str, Spread] = field(default_factory=dict)
    total_calls: Spread = Spread()
    total_tokens: Spread = Spread()


def typical(past: Iterable[PastRun], nodes: Sequence[str]) -> Typical:
    """Of these nodes, and of whole runs: what nodes that the graph no longer has came to counts in those alone."""
    runs = list(past)

    def spreads(number: Callable[[PastRun, str], int]) -> dict[str, Spread]:
        return {node: Spread.of(number(run, node) for run in runs) for node in nodes}

    return Typical(
        len(runs),
        spreads(lambda run, node: run.visits.get(node, 0)),
        spreads(lambda run, node: run.usage.get(node, NOTHING).calls),
        spreads(lambda run, node: _tokens(run.usage.get(node, NOTHING))),
        Spread.of(run.total.calls for run in runs),
        Spread.of(_tokens(run.total) for run in runs),
    )


NOTHING = Usage()


def _tokens(usage: Usage) -> int:
    return usage.input_tokens + usage.output_tokens


__all__ = ["Spread", "Typical", "typical"]
