"""Reading a recording in any format, block by block, so that hours of it take no more memory than seconds."""

from __future__ import annotations

import importlib
import wave
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vertebra.cli.demo.errors import AudioEmpty, AudioMissing, AudioTooLong, AudioUnreadable
from vertebra.cli.demo.samples import RATE, resample, samples_of

BLOCK_S = 5
"""Whole seconds, so that blocks of any rate become blocks at 16 kHz without a remainder."""

MAX_S = 4 * 3600
_MAX_BYTES_A_SECOND = 8_000_000
_RATES = range(1_000, 768_001)

_FORMATS = "aac,ac3,aiff,amr,ape,asf,au,caf,flac,matroska,webm,mov,mp4,m4a,mp3,ogg,rm,w64,wav,wv"
"""What FFmpeg may open. Playlists are not among them: they would make it open other files, or the network."""


def blocks(path: Path) -> Iterator[array[int]]:
    """The recording as blocks of mono samples at 16 kHz.

    Raises ``AudioMissing``, ``AudioUnreadable``, ``AudioEmpty``, ``AudioTooLong``.
    """
    read = 0
    for block in _wav_blocks(path) if _is_wav(path) else _decoded_blocks(path):
        read += len(block)
        if read > MAX_S * RATE:
            raise AudioTooLong(f"{path.name} is longer than {MAX_S // 3600} hours.")
        yield block
    if not read:
        raise AudioEmpty(f"{path.name} holds no sound.")


def _is_wav(path: Path) -> bool:
    """Whether the standard library can read it; a WAV of another kind goes to the decoder."""
    if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
        raise AudioMissing(f"{path} is not a file.")
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise AudioMissing(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head:
        raise AudioEmpty(f"{path.name} is empty: 0 bytes.")
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return False
    try:
        with wave.open(str(path), "rb"):
            return True
    except (wave.Error, EOFError):
        return False


def _wav_blocks(path: Path) -> Iterator[array[int]]:
    with _readable(path), wave.open(str(path), "rb") as file:
        rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
        if rate not in _RATES or width not in (1, 2, 3, 4) or rate * width * channels > _MAX_BYTES_A_SECOND:
            raise AudioUnreadable(f"{path.name} claims {rate} Hz, {8 * width} bits, {channels} channels.")
        while raw := file.readframes(rate * BLOCK_S):
            if not (samples := samples_of(raw, width, channels)):
                return
            yield resample(samples, rate)


def _decoded_blocks(path: Path) -> Iterator[array[int]]:
    """Through FFmpeg, as the wheel ``av`` carries it."""
    try:
        av: Any = importlib.import_module("av")
    except ImportError as error:
        raise AudioUnreadable(f"{path.name} is not a WAV file of PCM, and no decoder is installed.") from error
    with _readable(path), path.open("rb") as file, av.open(file, options={"format_whitelist": _FORMATS}) as container:
        if not container.streams.audio:
            raise AudioUnreadable(f"{path.name} has no sound track.")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        waiting: array[int] = array("h")
        for frame in container.decode(audio=0):
            for made in resampler.resample(frame):
                waiting.extend(_samples_of_frame(made))
            if len(waiting) >= BLOCK_S * RATE:
                yield waiting
                waiting = array("h")
        for made in resampler.resample(None):
            waiting.extend(_samples_of_frame(made))
        if waiting:
            yield waiting


def _samples_of_frame(frame: Any) -> array[int]:
    return array("h", bytes(frame.planes[0])[: frame.samples * 2])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever a decoder raises, as an error that says which file and what to do."""
    try:
        yield
    except (wave.Error, EOFError, OSError, ValueError) as error:  # FFmpeg's errors are OSErrors or ValueErrors
        reason = str(error).partition(": '")[0].strip() or type(error).__name__
        raise AudioUnreadable(f"{path.name} cannot be decoded: {reason}.") from error
