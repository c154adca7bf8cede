"""What is talked about: messages of common and rare words, and questions of them."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from vertebra.memory.recall.embedders import numpy

_COMMON = [
    "the",
    "a",
    "of",
    "to",
    "and",
    "in",
    "is",
    "it",
    "you",
    "that",
    "he",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "his",
    "they",
    "be",
    "at",
    "one",
    "have",
    "this",
    "from",
    "or",
    "had",
    "by",
    "not",
    "but",
    "what",
    "all",
    "were",
    "when",
    "we",
    "there",
    "can",
    "an",
    "your",
    "which",
    "their",
    "said",
    "if",
    "do",
    "will",
    "each",
    "about",
    "how",
    "up",
    "out",
    "them",
    "then",
    "she",
    "many",
    "some",
]
_SOUNDS = (
    ["b", "br", "c", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v", "w"],
    ["a", "e", "i", "o", "u", "ai", "ea", "ou"],
    ["l", "m", "n", "r", "s", "t"],
)


def words(count: int = 6_000) -> list[str]:
    """Words that can be pronounced, common ones first; the same at each call."""
    made = ("".join(itertools.chain(*parts)) for parts in itertools.product(*_SOUNDS, *_SOUNDS[:2]))
    chosen = random.Random(5).sample(sorted(set(itertools.islice(made, 400_000))), count)
    return [*_COMMON, *chosen]


@dataclass(frozen=True)
class Talk:
    """``text(n)`` is message ``n``: twenty words, common ones often (Zipf's law)."""

    seed: int = 7

    def texts(self, count: int) -> list[str]:
        known = words()
        weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(known))))
        chance = random.Random(self.seed)
        return [" ".join(chance.choices(known, cum_weights=weights, k=20)) for _ in range(count)]

    def questions(self, texts: Sequence[str], count: int) -> list[str]:
        """Some words of some messages, in another order, with what questions are made of."""
        chance = random.Random(self.seed + 1)
        asked = []
        for text in chance.sample(list(texts), count):
            picked = chance.sample(text.split(), 4)
            asked.append(f"what was said about {' '.join(picked)}?")
        return asked


class Directions:
    """An embedder that costs next to nothing, so that what is measured is recall: a direction drawn for each text."""

    name, dimensions = "directions-384", 384

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        np = numpy()
        return [
            np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dimensions, np.float32).tolist()
            for text in texts
        ]
