"""The front of the local models, with stand-ins for both engines behind it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest

from vertebra.cli.demo.engines import Heard, Speech
from vertebra.cli.demo.errors import AudioUnreadable
from vertebra.cli.demo.front import Front
from vertebra.testing.books import BookEntry, Books

from .conftest import SAID, Chooser


class Ear:
    """Hears how long a recording is."""

    def hear(self, body: bytes, prompt: str | None = None) -> Heard:
        if body == b"noise":
            raise AudioUnreadable("The recording cannot be decoded.")
        return Heard(f"{len(body)} bytes, expecting {prompt}", 2.0, 0.1)


@pytest.fixture
def front(chooser: Chooser, tmp_path: Path) -> Iterator[Front]:
    books = str(tmp_path / "front.jsonl")
    with Front(chooser.base_url, cast(Speech, Ear()), books=books) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(front: Front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=front.base_url, api_key="local", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Well?"}], **options)


def entries_of(folder: Path, count: int) -> list[BookEntry]:
    """The books, when they have so many entries: each is entered when its answer has gone out."""
    for _ in range(250):
        if len(entries := list(Books.read(folder / "front.jsonl"))) >= count:
            break
        time.sleep(0.02)
    return entries


def test_one_address_serves_text_streams_and_speech(client: openai.OpenAI, tmp_path: Path) -> None:
    assert ask(client).choices[0].message.content == SAID
    pieces = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == SAID
    assert pieces[-1].usage.completion_tokens > 0
    sound = b"RIFF\r\n--\r\n\x00\xff"
    heard = client.audio.transcriptions.create(model="w", file=("a.wav", sound), prompt="lisinopril")
    assert heard.text == f"{len(sound)} bytes, expecting lisinopril"
    assert "whisper-tiny.en" in [model.id for model in client.models.list()]

    entries = sorted(entries_of(tmp_path, 3), key=lambda entry: entry.at)
    assert [entry.path.rpartition("/v1/")[2] for entry in entries] == [
        "chat/completions",
        "chat/completions",
        "audio/transcriptions",
    ]
    assert all(entry.paid and entry.delivered and entry.status == 200 for entry in entries)
    assert entries[1].output_tokens == pieces[-1].usage.completion_tokens


def test_answers_are_bounded_and_repeatable(client: openai.OpenAI, chooser: Chooser, tmp_path: Path) -> None:
    seen = []
    chooser.on_request = seen.append
    ask(client, max_completion_tokens=100_000)
    assert seen[0]["max_tokens"] <= 400
    assert seen[0]["cache_prompt"] is False
    assert seen[0]["temperature"] == 0


def test_a_stream_that_nobody_reads_on_is_in_the_books_as_broken_off(client: openai.OpenAI, tmp_path: Path) -> None:
    stream = ask(client, stream=True)
    next(iter(stream))
    stream.close()
    entries = entries_of(tmp_path, 1)
    assert entries[0].paid
    assert not entries[0].delivered


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"no JSON", 400),
        ("/v1/audio/transcriptions", b"{}", 400),
        ("/v1/chat/completions", b" " * 40_000_000, 413),
    ],
)
def test_what_it_cannot_serve_is_refused(front: Front, path: str, body: bytes, status: int) -> None:
    request = Request(front.base_url.removesuffix("/v1") + path, body, {"content-type": "application/json"})
    with pytest.raises((HTTPError, ConnectionError, OSError)) as caught:
        urlopen(request, timeout=10)
    if isinstance(caught.value, HTTPError):
        with caught.value as answer:
            assert answer.code == status
            assert "error" in json.loads(answer.read())


def test_a_recording_that_cannot_be_decoded_is_the_askers_fault(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot be decoded"):
        client.audio.transcriptions.create(model="w", file=("a.wav", b"noise"))
