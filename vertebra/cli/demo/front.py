"""One HTTP front for the local models: speech to Whisper, all else on to llama.cpp, every request in the books."""

from __future__ import annotations

import hashlib
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from vertebra.cli.demo.engines import CHAT_MODEL, SPEECH_MODEL, Speech
from vertebra.cli.demo.errors import AudioUnreadable
from vertebra.cli.demo.multipart import read_multipart
from vertebra.testing.books import BookEntry, Books

MAX_TOKENS = 400
MAX_BODY_BYTES = 32_000_000
ANSWER_WITHIN_S = 180.0

JSON = "application/json"
SPEECH = "/audio/transcriptions"


class Front(ThreadingHTTPServer):
    """The server: engines, books, and the turn that text requests wait for."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, chat_address: str, speech: Speech, *, port: int = 0, books: str | None = None) -> None:
        self.chat = urlsplit(chat_address)
        self.speech = speech
        self.books = Books(books)
        self.turn = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front
    timeout = 300

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the books tell it."""

    def do_GET(self) -> None:
        if self.path.rstrip("/") in ("/v1/models", "/health"):
            models = [{"id": name, "object": "model", "owned_by": "local"} for name in (CHAT_MODEL, SPEECH_MODEL)]
            self._answer(200, {"object": "list", "data": models, "status": "ok"})
        else:
            self._refuse(404, f"There is no {self.path}.")

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        if size > MAX_BODY_BYTES:
            self.close_connection = True
            return self._refuse(413, f"The body is over {MAX_BODY_BYTES:,} bytes.")
        body = self.rfile.read(size)
        path = self.path.split("?")[0]
        content_type = self.headers.get("content-type", "")
        asked = read_multipart(content_type, body) if path.endswith(SPEECH) else _object(body)
        if not asked:
            return self._refuse(400, "The body is neither a form with a file nor a JSON object.")
        entry = Entry(self, path, asked)
        try:
            if path.endswith(SPEECH):
                self._transcribe(entry, asked)
            else:
                self._forward(entry, path, asked)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            entry.write()

    def _transcribe(self, entry: Entry, fields: dict[str, bytes]) -> None:
        if "file" not in fields:
            return self._refuse(400, "The field `file` is missing.", entry)
        try:
            heard = self.server.speech.hear(
                fields["file"], fields.get("prompt", b"").decode("utf-8", "replace") or None
            )
        except AudioUnreadable as error:
            return self._refuse(400, error.message, entry)
        entry.paid = True
        usage = {"type": "duration", "seconds": round(heard.sound_s)}
        if fields.get("response_format") == b"text":
            self._whole(200, "text/plain; charset=utf-8", heard.text.encode())
        else:
            self._answer(200, {"text": heard.text, "usage": usage}, entry)
        entry.delivered = True

    def _forward(self, entry: Entry, path: str, asked: dict[str, Any]) -> None:
        """To llama.cpp: one at a time, never for a client that is gone."""
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens") or MAX_TOKENS
        bounded = {"temperature": 0, **asked, "max_tokens": min(int(limit), MAX_TOKENS), "cache_prompt": False}
        bounded.pop("max_completion_tokens", None)
        with self.server.turn:
            if self._is_gone():
                self.close_connection = True
                return
            chat = self.server.chat
            connection = HTTPConnection(str(chat.hostname), chat.port, timeout=ANSWER_WITHIN_S)
            try:
                connection.request("POST", path, json.dumps(bounded).encode(), {"content-type": JSON})
                self._pass_on(entry, connection.getresponse())
            except (TimeoutError, HTTPException, ConnectionRefusedError) as error:
                self.close_connection = True
                if entry.status == 0:
                    self._refuse(504, f"The model did not answer: {error!r}", entry)
            finally:
                connection.close()  # llama.cpp stops an answer that nobody reads

    def _pass_on(self, entry: Entry, reply: HTTPResponse) -> None:
        content_type = reply.headers.get("content-type", JSON)
        if not content_type.startswith("text/event-stream"):
            body = reply.read()
            entry.count(json.loads(body) if content_type.startswith(JSON) else None)
            entry.paid = reply.status == 200
            self._whole(reply.status, content_type, body, entry)
            entry.delivered = entry.paid
            return
        self.send_response(reply.status)
        entry.status, entry.paid = reply.status, True
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in _events(reply):
            entry.follow(event)
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")
        entry.delivered = True

    def _is_gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def _refuse(self, status: int, message: str, entry: Entry | None = None) -> None:
        self._answer(status, {"error": {"message": message, "type": "local_models", "code": status}}, entry)

    def _answer(self, status: int, value: Any, entry: Entry | None = None) -> None:
        self._whole(status, JSON, json.dumps(value).encode(), entry)

    def _whole(self, status: int, content_type: str, body: bytes, entry: Entry | None = None) -> None:
        if entry is not None:
            entry.status = status
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Entry:
    """A line of the books in the making."""

    def __init__(self, handler: Handler, path: str, asked: dict[str, Any]) -> None:
        self._handler = handler
        self._at = time.time()
        self._path, self._digest = path, hashlib.sha256(f"{path}\n{sorted(asked.items())}".encode()).hexdigest()[:16]
        model = asked.get("model")
        self._model = model.decode("utf-8", "replace") if isinstance(model, bytes) else str(model or "")
        self._tokens: tuple[int, int] = (0, 0)
        self.status = 0
        self.paid = False
        self.delivered = False

    def count(self, answer: Any) -> None:
        """Take the tokens from an answer, or from an event of one."""
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if isinstance(usage, dict):
            self._tokens = (int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))

    def follow(self, event: bytes) -> None:
        """Count along with a stream, so that a broken one is billed for what it brought."""
        if not event.startswith(b"data: {"):
            return
        data = json.loads(event[6:])
        choices = data.get("choices") or [{}]
        if (choices[0].get("delta") or {}).get("content"):
            self._tokens = (self._tokens[0], self._tokens[1] + 1)
        self.count(data)

    def write(self) -> None:
        headers = self._handler.headers
        self._handler.server.books.enter(
            BookEntry(
                at=self._at,
                path=self._path,
                model=self._model,
                digest=self._digest,
                idempotency_key=headers.get("idempotency-key"),
                authorized="authorization" in headers,
                status=self.status,
                input_tokens=self._tokens[0],
                output_tokens=self._tokens[1],
                paid=self.paid,
                delivered=self.delivered,
            )
        )


def _object(body: bytes) -> dict[str, Any]:
    """A body that is a JSON object, or nothing."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _events(reply: HTTPResponse) -> Iterator[bytes]:
    """Server-sent events one by one, each with the empty line that ends it."""
    event = b""
    while line := reply.readline():
        event += line
        if not line.strip():
            yield event
            event = b""
    if event:
        yield event
