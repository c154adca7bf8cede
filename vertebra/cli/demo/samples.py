"""Sound as numbers: from the bytes of any PCM to mono samples at 16 kHz, and their level. Pure, stdlib only."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import add, itemgetter, mul

RATE = 16_000
"""Samples a second, as speech models take them."""

FRAME = 480
"""Samples of one frame (30 ms), for which a level is measured."""

QUIETEST_DB = -96.0
"""The level of digital silence: 16 bits hold no quieter sound."""

_SIGNED = bytes(value ^ 0x80 for value in range(256))


def samples_of(raw: bytes, width: int, channels: int) -> array[int]:
    """Interleaved little-endian PCM of 1 to 4 bytes a sample as mono samples of 16 bits.

    Samples of 8 bits are unsigned, as WAV has it. An incomplete last frame is dropped.
    """
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width != 2:
        words = bytearray(len(raw) // width * 2)
        words[1::2] = raw.translate(_SIGNED) if width == 1 else raw[width - 1 :: width]
        if width > 2:
            words[0::2] = raw[width - 2 :: width]
        raw = bytes(words)
    samples = array("h", raw)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples if channels == 1 else _mixed(samples, channels)


def _mixed(samples: array[int], channels: int) -> array[int]:
    total: Sequence[int] = samples[0::channels]
    for channel in range(1, channels):
        total = list(map(add, total, samples[channel::channels]))
    return array("h", (value // channels for value in total))


def resample(samples: array[int], rate: int) -> array[int]:
    """Samples at ``rate`` as samples at 16 kHz.

    Downwards each new sample is the mean of those that it covers (a box filter: enough against
    aliasing for speech); upwards it lies on the line between two.
    """
    count = len(samples) * RATE // rate
    if rate == RATE or count == 0:
        return samples[:count]
    if rate > RATE:
        edges = [index * rate // RATE for index in range(count + 1)]
        sums = _picked(list(accumulate(samples, initial=0)), edges)
        return array("h", ((b - a) // (j - i) for a, b, i, j in zip(sums, sums[1:], edges, edges[1:], strict=False)))
    padded = [*samples, samples[-1]]
    places = [divmod(index * rate, RATE) for index in range(count)]
    return array("h", (padded[i] + (padded[i + 1] - padded[i]) * part // RATE for i, part in places))


def _picked(values: Sequence[int], indices: Sequence[int]) -> tuple[int, ...]:
    found = itemgetter(*indices)(values)
    return found if isinstance(found, tuple) else (found,)


def levels(samples: array[int]) -> array[float]:
    """The level of each whole frame in dB below full scale, a constant offset taken away."""
    found = array("f")
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        frame = samples[start : start + FRAME]
        mean = sum(frame) / FRAME
        power = sum(map(mul, frame, frame)) / FRAME - mean * mean
        found.append(max(QUIETEST_DB, 10 * math.log10(power / 32768.0**2)) if power > 0 else QUIETEST_DB)
    return found
