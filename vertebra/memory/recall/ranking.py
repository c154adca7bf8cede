"""Ranking: how well an entry answers a question, by its words, and how two rankings become one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Id = TypeVar("Id", bound=Hashable)

RRF_K = 60
BM25_K1, BM25_B = 1.2, 0.75


@dataclass(frozen=True, slots=True)
class Asked:
    """A term of a question. ``found_in`` is the number of the tenant's entries that have it.

    ``blind``: as the index of a sealed memory has it.
    """

    term: str
    found_in: int
    is_prefix: bool = False
    blind: str | None = None

    @property
    def indexed(self) -> str:
        """As it is found in the index."""
        return self.term if self.blind is None else self.blind

    def count(self, terms: Mapping[str, int]) -> int:
        """How often it is among these."""
        if not self.is_prefix:
            return terms.get(self.indexed, 0)
        return sum(count for term, count in terms.items() if term.startswith(self.term))


def bm25(asked: Sequence[Asked], terms: Sequence[str], entries: int, mean_length: float) -> float:
    """Okapi BM25 of an entry with these terms, among ``entries`` of this mean length.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), equation 3.15, with the
    inverse document frequency ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative.
    """
    counts = Counter(terms)
    norm = BM25_K1 * (1 - BM25_B + BM25_B * len(terms) / (mean_length or 1.0))
    score = 0.0
    for one in asked:
        if count := one.count(counts):
            score += rarity(one.found_in, entries) * count * (BM25_K1 + 1) / (count + norm)
    return score


def rarity(found_in: int, entries: int) -> float:
    """The inverse document frequency of a term; also what an entry of mean length scores that has it once."""
    n = min(found_in, entries)
    return math.log(1 + (entries - n + 0.5) / (n + 0.5))


def fused(*rankings: Sequence[Id], shares: Mapping[Id, float] | None = None) -> dict[Id, float]:
    """Reciprocal rank fusion: the sum of 1 / (60 + rank) over the rankings that hold it, best first.

    ``shares``: what each counts for in the first ranking; 1 where nothing is said.

    Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods" (SIGIR 2009). Equal ones stay in the order of the first ranking that holds them.
    """
    scores: dict[Id, float] = {}
    for number, ranking in enumerate(rankings):
        for rank, id in enumerate(ranking, 1):
            share = 1.0 if number or shares is None else shares.get(id, 1.0)
            scores[id] = scores.get(id, 0.0) + share / (RRF_K + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
