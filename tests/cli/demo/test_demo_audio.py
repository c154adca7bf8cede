"""Recordings of every kind: cut, or refused with a clear error."""

from __future__ import annotations

import os
import wave
from array import array
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from vertebra.cli.demo import recording
from vertebra.cli.demo.audio import cut_recording
from vertebra.cli.demo.errors import (
    AudioEmpty,
    AudioError,
    AudioMissing,
    AudioSilent,
    AudioTooLong,
    AudioUnreadable,
)
from vertebra.cli.demo.samples import resample, samples_of

from .conftest import RATE, MakeWav, speech


def test_a_recording_is_cut_at_its_silences(consultation: Path, tmp_path: Path) -> None:
    slices = cut_recording(consultation, tmp_path / "slices")

    assert [piece.index for piece in slices] == [0, 1]
    assert slices[0].start_s == pytest.approx(0.35, abs=0.1)
    assert slices[0].end_s == pytest.approx(13.15, abs=0.1)
    assert slices[1].start_s == pytest.approx(15.85, abs=0.1)
    with wave.open(slices[1].path) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        assert file.getnframes() / RATE == pytest.approx(slices[1].end_s - slices[1].start_s, abs=0.02)


def test_cutting_twice_gives_the_same_files(consultation: Path, tmp_path: Path) -> None:
    first = cut_recording(consultation, tmp_path / "slices")
    files = sorted(path.name for path in (tmp_path / "slices").iterdir())

    assert cut_recording(consultation, tmp_path / "slices") == first
    assert sorted(path.name for path in (tmp_path / "slices").iterdir()) == files
    assert files == sorted(f"{piece.sha256[:16]}.wav" for piece in first)


def test_speech_without_a_pause_is_cut_within_15_seconds(make_wav: MakeWav, tmp_path: Path) -> None:
    path = make_wav(speech((0.2, 49.8), lasting_s=50).tobytes())

    slices = cut_recording(path, tmp_path / "slices")

    assert len(slices) >= 4
    assert all(piece.end_s - piece.start_s <= 15.01 for piece in slices)
    assert all(a.end_s == b.start_s for a, b in pairwise(slices))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_sample_width_reads_alike(width: int, channels: int) -> None:
    random = Random(3)
    samples = array("h", (random.randint(-128, 127) << 8 for _ in range(500)))
    raw = b"".join(_pcm(value, width) * channels for value in samples)

    assert samples_of(raw, width, channels) == samples
    assert samples_of(raw + b"\x01", width, channels)[:500] == samples, "an incomplete frame is dropped"


def _pcm(value: int, width: int) -> bytes:
    if width == 1:
        return bytes([(value >> 8) + 128])
    return (value << 8 * (width - 2)).to_bytes(width, "little", signed=True)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_16_khz(rate: int) -> None:
    made = resample(array("h", [1000] * rate), rate)

    assert len(made) == RATE
    assert set(made) == {1000}


def test_the_rate_of_the_file_does_not_move_the_cuts(consultation: Path, make_wav: MakeWav, tmp_path: Path) -> None:
    with wave.open(str(consultation)) as file:
        samples = array("h", file.readframes(file.getnframes()))
    doubled = array("h", (value for value in samples for _ in range(4)))  # 32 kHz, stereo
    path = make_wav(doubled.tobytes(), "stereo.wav", rate=32_000, channels=2)

    expected = [(piece.start_s, piece.end_s) for piece in cut_recording(consultation, tmp_path / "a")]
    assert [(piece.start_s, piece.end_s) for piece in cut_recording(path, tmp_path / "b")] == expected


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(consultation: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(consultation.read_bytes()[: 10 * RATE * 2])

    assert len(cut_recording(broken, tmp_path / "slices")) == 1


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", AudioEmpty),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", AudioUnreadable),
        (Random(1).randbytes(20_000), AudioUnreadable),
        (b"#EXTM3U\nhttp://127.0.0.1:9/x.ts\n", AudioUnreadable),
        (b"hello\n" * 100, AudioUnreadable),
    ],
    ids=["nothing", "header cut", "garbage", "playlist", "text"],
)
def test_what_is_no_recording_is_refused(body: bytes, error: type[AudioError], tmp_path: Path) -> None:
    path = tmp_path / "visit.wav"
    path.write_bytes(body)

    with pytest.raises(error) as caught:
        cut_recording(path, tmp_path / "slices")

    assert "visit.wav" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (array("h"), AudioEmpty),
        (speech((0.0, 0.05), lasting_s=0.05), AudioEmpty),
        (array("h", bytes(2 * RATE * 5)), AudioSilent),
        (speech(lasting_s=5, noise=3000), AudioSilent),
        (array("h", [12_000] * RATE * 3), AudioSilent),
    ],
    ids=["no samples", "an instant", "silence", "noise", "constant"],
)
def test_a_recording_without_speech_is_refused(
    samples: array[int], error: type[AudioError], make_wav: MakeWav, tmp_path: Path
) -> None:
    with pytest.raises(error):
        cut_recording(make_wav(samples.tobytes()), tmp_path / "slices")


def test_a_missing_file_a_folder_and_a_pipe_are_told_apart_from_recordings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("nothing.wav", "pipe.wav", ""):
        with pytest.raises(AudioMissing):
            cut_recording(tmp_path / name, tmp_path / "slices")


def test_a_header_with_absurd_numbers_is_refused(make_wav: MakeWav, tmp_path: Path) -> None:
    with pytest.raises(AudioUnreadable, match="claims"):
        cut_recording(make_wav(bytes(4000), rate=4_000_000), tmp_path / "slices")


def test_a_long_recording_is_read_in_blocks_and_too_long_a_one_is_refused(
    make_wav: MakeWav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = speech((1, 9), (12, 20), (25, 38), (45, 58), lasting_s=60).tobytes()
    path = make_wav(minute * 8)

    assert max(map(len, recording.blocks(path))) <= recording.BLOCK_S * RATE
    slices = cut_recording(path, tmp_path / "slices")
    assert len(slices) == 8 * 4
    assert len(list((tmp_path / "slices").iterdir())) < len(slices), "equal slices are one file"

    monkeypatch.setattr(recording, "MAX_S", 60)
    with pytest.raises(AudioTooLong):
        cut_recording(path, tmp_path / "slices")
