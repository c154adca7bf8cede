"""Long lists in chunks that are written once: a list of n entries is the number n in base 32.

Each 32 entries in a row are a chunk, each 32 chunks a chunk of chunks, and so on. What fills no chunk yet is
the list's digit at that level, and stands in the checkpoint itself. An append therefore writes the new entry,
copies fewer than 32 references for each level, and writes a chunk at every 32nd step; all full chunks are shared
with the lists that came before and with those of forks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

WIDTH = 32

Entry = int | bytes
"""The number of a piece, or a small value itself, as typed bytes."""

Level = list[Entry]
"""All entries of a list, or all its chunks of one size, in order."""

Store = Callable[[int, int, Level], int]
"""Writes a chunk, of which the level, the place of the first entry and the entries are given; returns its number."""

Fetch = Callable[[Sequence[Entry]], Mapping[Entry, Level]]
"""The entries of chunks, by their numbers."""


def build(entries: Level, old: Sequence[Level], same: int, store: Store) -> list[Level]:
    """The levels of ``entries``, of which the first ``same`` are those of the levels ``old``."""
    levels, below, span = [entries], entries, WIDTH
    while len(below) >= WIDTH:
        known = old[len(levels)] if len(levels) < len(old) else []
        kept = min(same // span, len(known))
        new = range(kept * WIDTH, len(below) // WIDTH * WIDTH, WIDTH)
        below = known[:kept] + [store(len(levels), at, below[at : at + WIDTH]) for at in new]
        levels.append(below)
        span *= WIDTH
    return levels


def digits(levels: Sequence[Level]) -> list[Level]:
    """Of each level, what is in no chunk of the next."""
    return [level[len(level) // WIDTH * WIDTH :] for level in levels]


def spread(digits: Sequence[Level], fetch: Fetch) -> list[Level]:
    """The levels again, the entries of the list first."""
    levels: list[Level] = []
    above: Level = []
    for digit in reversed(digits):
        chunks = fetch(above) if above else {}
        above = [entry for number in above for entry in chunks[number]] + list(digit)
        levels.insert(0, above)
    return levels
