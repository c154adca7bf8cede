"""Finding the silences of a recording from its levels, and planning slices between them. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from vertebra.cli.demo.samples import FRAME, RATE

Span = tuple[int, int]
"""From one frame to before another."""

SLICE_S = 15
PAUSE_S = 0.3
"""A silence shorter than this is a breath within a turn."""
PAD_S = 0.15
"""Kept on both sides of a turn: the first sound of a word is quiet."""
CLICK_S = 0.12
"""What is shorter is no speech."""

HEARD_DB = -55.0
"""The loudest frames of a recording with speech are above this."""
RANGE_DB = 8.0
"""Speech rises and falls by more than this; a hum or a hiss does not."""


def frames(seconds: float) -> int:
    return round(seconds * RATE / FRAME)


def threshold(level: array[float]) -> float | None:
    """The level above which somebody speaks, or None where nobody does.

    A third of the way from the noise (the quietest tenth) to the voice (the loudest half percent).
    """
    ordered = sorted(level)
    noise = ordered[len(ordered) // 10]
    voice = ordered[-max(1, min(len(ordered), 4), len(ordered) // 200)]
    if voice < HEARD_DB or voice - noise < RANGE_DB:
        return None
    return noise + (voice - noise) * 0.35


def turns(level: array[float]) -> list[Span]:
    """Stretches of speech, padded, with pauses between them; empty where nobody speaks."""
    limit = threshold(level) if level else None
    if limit is None:
        return []
    found: list[Span] = []
    for start, end in _louder(level, limit):
        if found and start - found[-1][1] < frames(PAUSE_S):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    pad = frames(PAD_S)
    spoken = [(start, end) for start, end in found if end - start >= frames(CLICK_S)]
    return [(max(0, start - pad), min(len(level), end + pad)) for start, end in spoken]


def _louder(level: array[float], limit: float) -> Iterator[Span]:
    start = None
    for index, value in enumerate(level):
        if value >= limit and start is None:
            start = index
        elif value < limit and start is not None:
            yield start, index
            start = None
    if start is not None:
        yield start, len(level)


def slices(level: array[float]) -> list[Span]:
    """Slices of at most 15 s that begin and end in silence, neighbouring turns joined."""
    longest = frames(SLICE_S)
    joined: list[Span] = []
    for turn in turns(level):
        for start, end in _within(level, turn, longest):
            if joined and end - joined[-1][0] <= longest:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
    return joined


def _within(level: array[float], turn: Span, longest: int) -> Iterator[Span]:
    """A turn in parts of at most ``longest`` frames, cut where the last third is quietest."""
    start, end = turn
    while end - start > longest:
        earliest = start + longest * 2 // 3
        width = frames(0.15)
        cut = min(range(earliest, start + longest - width), key=lambda at: sum(level[at : at + width])) + width // 2
        yield start, cut
        start = cut
    yield start, end
