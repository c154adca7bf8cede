"""A provider for the demo's graph, recordings made of numbers, and nothing to install."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import wave
from array import array
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest

from vertebra.testing.books import BookEntry, Books

RATE = 16_000
SAID = "I have had a cough for two weeks. I had asthma as a child. I take lisinopril every day."


class Chooser(ThreadingHTTPServer):
    """Answers as the demo's models do: hears one text in every slice, and chooses the first option of each field.

    Streams come at a pace, so that there is a middle to be killed in.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, books: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.books = Books(books)
        self.said = SAID
        self.pace_s = 0.03
        self.on_request: Callable[[Any], object] = lambda body: None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed client is what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Chooser

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._send("application/json", [b'{"object": "list", "data": []}'])

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        digest = hashlib.sha256(raw).hexdigest()
        if self.path.endswith("/audio/transcriptions"):
            digest, chunks = "", [json.dumps({"text": self.server.said}).encode()]
        else:
            asked = json.loads(raw)
            self.server.on_request(asked)
            chunks = list(_answers(asked, self.server.said))
        delivered = False
        try:
            self._send("text/event-stream" if len(chunks) > 1 else "application/json", chunks)
            delivered = True
        except OSError:
            self.close_connection = True
        finally:
            key = self.headers.get("idempotency-key")
            entry = BookEntry(time.time(), self.path, None, digest, key, True, 200, 10, 20, True, delivered)
            self.server.books.enter(entry)

    def _send(self, content_type: str, chunks: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            if len(chunks) > 1:
                time.sleep(self.server.pace_s)
        self.wfile.write(b"0\r\n\r\n")


def _answers(asked: dict[str, Any], text: str) -> Iterator[bytes]:
    """The body of a chat completion: one chunk, or the events of a stream."""
    if isinstance(wanted := asked.get("response_format"), dict):
        fields = wanted["json_schema"]["schema"]["properties"]
        text = json.dumps({name: field["enum"][0] for name, field in fields.items()})
    head = {"id": "c", "created": 0, "model": "chooser"}
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    if not asked.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        yield json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        return
    head["object"] = "chat.completion.chunk"
    for start in range(0, len(text), 8):
        choice = {"index": 0, "delta": {"content": text[start : start + 8]}, "finish_reason": None}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode()
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    for event in ({**head, "choices": [last]}, {**head, "choices": [], "usage": usage}):
        yield f"data: {json.dumps(event)}\n\n".encode()
    yield b"data: [DONE]\n\n"


@pytest.fixture
def chooser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chooser]:
    """A provider that is set in the environment."""
    with Chooser(tmp_path / "books.jsonl") as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        yield server
        server.shutdown()


def speech(*turns: tuple[float, float], lasting_s: float, noise: int = 20) -> array[int]:
    """Something that rises and falls like speech in the given turns (from, to; seconds), over a noise."""
    random = Random(7)
    samples = array("h", (random.randint(-noise, noise) for _ in range(int(lasting_s * RATE))))
    for start, end in turns:
        for index in range(int(start * RATE), int(end * RATE)):
            loud = 6000 if index // 1600 % 3 else 2500
            samples[index] = random.randint(-loud, loud)
    return samples


MakeWav = Callable[..., Path]


@pytest.fixture
def make_wav(tmp_path: Path) -> MakeWav:
    """Write samples as a WAV file."""

    def make(
        frames: bytes, name: str = "recording.wav", *, rate: int = RATE, width: int = 2, channels: int = 1
    ) -> Path:
        path = tmp_path / name
        with wave.open(str(path), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(rate)
            file.writeframes(frames)
        return path

    return make


@pytest.fixture
def consultation(make_wav: MakeWav) -> Path:
    """Twenty seconds in which two people speak: two slices."""
    return make_wav(speech((0.5, 8.0), (9.0, 13.0), (16.0, 19.5), lasting_s=20).tobytes())
