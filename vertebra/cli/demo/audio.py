"""Cutting a recording at its silences into small WAV files that a speech model can take one by one."""

from __future__ import annotations

import hashlib
import io
import os
import wave
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vertebra.cli.demo.errors import AudioEmpty, AudioSilent
from vertebra.cli.demo.recording import blocks
from vertebra.cli.demo.samples import FRAME, RATE, levels
from vertebra.cli.demo.silence import CLICK_S, Span, slices


class Slice(BaseModel):
    """A part of a recording, as a WAV file of its own: mono, 16 kHz, 16 bits, named by its content."""

    model_config = ConfigDict(frozen=True)

    index: int
    start_s: float
    end_s: float
    path: str
    sha256: str


def cut_recording(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[Slice]:
    """Cut ``path`` at its silences into slices of at most 15 s, saved in ``folder``.

    The same recording gives the same files, so that doing it again after a crash changes nothing.
    Raises an ``AudioError``.
    """
    source = Path(path)
    level = _levels(source)
    if len(level) * FRAME < CLICK_S * RATE:
        raise AudioEmpty(f"{source.name} lasts {len(level) * FRAME / RATE:.2f} s: nothing can be said in that.")
    plan = slices(level)
    if not plan:
        raise AudioSilent(f"Nobody speaks in {source.name} ({len(level) * FRAME / RATE:.0f} s).")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    return [_saved(number, span, part, target) for number, (span, part) in enumerate(_parts(source, plan))]


def _levels(source: Path) -> array[float]:
    found: array[float] = array("f")
    rest: array[int] = array("h")
    for block in blocks(source):
        rest.extend(block)
        found.extend(levels(rest))
        rest = rest[len(rest) // FRAME * FRAME :]
    return found


def _parts(source: Path, plan: Sequence[Span]) -> Iterator[tuple[Span, array[int]]]:
    """The samples of each planned slice, read in one pass that keeps no more than one slice."""
    held: array[int] = array("h")
    held_from = 0
    reading = blocks(source)
    for span in plan:
        start, end = span[0] * FRAME, span[1] * FRAME
        while held_from + len(held) < end and (block := next(reading, None)) is not None:
            held.extend(block)
            past = min(len(held), max(0, start - held_from))
            held, held_from = held[past:], held_from + past
        yield span, held[start - held_from : end - held_from]


def _saved(number: int, span: Span, samples: array[int], folder: Path) -> Slice:
    body = wav_of(samples)
    digest = hashlib.sha256(body).hexdigest()
    path = folder / f"{digest[:16]}.wav"
    write_atomically(path, body)
    return Slice(
        index=number,
        start_s=round(span[0] * FRAME / RATE, 2),
        end_s=round(span[1] * FRAME / RATE, 2),
        path=str(path),
        sha256=digest,
    )


def wav_of(samples: array[int]) -> bytes:
    """Mono samples of 16 bits at 16 kHz as the bytes of a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def write_atomically(path: Path, body: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process dies."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
