"""A scripted model behind a real HTTP server on the loopback interface.

Also a process of its own, so that it outlives a client that is killed:
``python -m vertebra.testing.scripted_model --books FILE`` prints its base URL as its first line.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from vertebra.testing.books import BookEntry, Books
from vertebra.testing.protocol import Rendered, error_body, read_request, render
from vertebra.testing.script import Answered, Asked, Matcher, Rule, Script


class Provider:
    """Script, books and numbering: what the server and the in-process transport share."""

    def __init__(self, *, sampled: bool, books_path: str | os.PathLike[str] | None) -> None:
        self.script = Script(sampled=sampled)
        self.books = Books(books_path)
        self._numbers = itertools.count(1)

    def decide(self, path: str, headers: dict[str, str], body: bytes) -> tuple[Asked | None, Answered, Rendered | None]:
        """Read the request, choose the answer and enter it in the books."""
        try:
            asked = read_request(path, headers.get("content-type", ""), body)
        except ValueError:
            return None, Answered(fault="status", status=400), None
        answer = self.script.answer(asked)
        refused = answer.fault in ("status", "hang")
        rendered = None if refused else render(asked, answer, next(self._numbers))
        model = asked.body.get("model")
        self.books.enter(
            BookEntry(
                at=time.time(),
                path=path,
                model=model if isinstance(model, str) else None,
                digest=asked.digest,
                idempotency_key=headers.get("idempotency-key"),
                authorized="authorization" in headers,
                status=answer.status if answer.fault == "status" else 0 if answer.fault == "hang" else 200,
                input_tokens=rendered.input_tokens if rendered else 0,
                output_tokens=rendered.output_tokens if rendered else 0,
                paid=rendered is not None,
                delivered=rendered is not None and answer.fault not in ("cut", "bad_json"),
            )
        )
        return asked, answer, rendered


class ScriptedModel:
    """A model that says what it is told to, over HTTP, and keeps the books. A context manager.

    Without rules it echoes: the same request gets the same text. ``sampled=True`` makes each paid
    answer different, as a real model's are, so that asking twice shows.

    Example::

        with ScriptedModel() as model:
            model.on("weather").fail(429, retry_after_s=0.1).reply("sunny")
            client = openai.OpenAI(base_url=model.base_url, api_key="test")
    """

    def __init__(
        self, *, sampled: bool = False, books_path: str | os.PathLike[str] | None = None, port: int = 0
    ) -> None:
        self._provider = Provider(sampled=sampled, books_path=books_path)
        self._server = _Server(self._provider, port)
        self._thread: threading.Thread | None = None

    @property
    def books(self) -> Books:
        return self._provider.books

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def env(self) -> dict[str, str]:
        """The environment in which the official client finds this model."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "test"}

    def on(self, matcher: Matcher = "") -> Rule:
        """A rule for requests whose prompt contains a text, matches a pattern or satisfies a function."""
        return self._provider.script.on(matcher)

    def start(self) -> ScriptedModel:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="scripted-model", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering; connections that hang are cut."""
        self._server.stopping.set()
        self._server.shutdown()
        self._server.cut_all()
        self._server.server_close()

    def __enter__(self) -> ScriptedModel:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> ScriptedModel:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, provider: Provider, port: int) -> None:
        self.provider = provider
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for connection in list(self._open):
            _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length", "0"))))

    def _answer(self, body: bytes) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        _, answer, rendered = self.server.provider.decide(self.path.split("?")[0], headers, body)
        if answer.delay_s:
            self.server.stopping.wait(answer.delay_s)
        if answer.fault == "hang":
            self.server.stopping.wait()
            return
        if rendered is None:
            self._whole(answer.status, "application/json", error_body(answer.status), answer.retry_after_s)
        elif answer.fault == "cut":
            self._cut_after(rendered, answer.after_chunks)
        elif answer.fault == "bad_json":
            body = b"".join(rendered.chunks)
            self._whole(200, rendered.content_type, body[: len(body) // 2])
        elif len(rendered.chunks) > 1:
            self._stream(rendered)
        else:
            self._whole(200, rendered.content_type, rendered.chunks[0])

    def _whole(self, status: int, content_type: str, body: bytes, retry_after_s: float | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("retry-after", f"{retry_after_s:g}")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, rendered: Rendered) -> None:
        self._stream_head(rendered)
        for chunk in rendered.chunks:
            self._chunk(chunk)
        self.wfile.write(b"0\r\n\r\n")

    def _stream_head(self, rendered: Rendered) -> None:
        self.send_response(200)
        self.send_header("content-type", rendered.content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _chunk(self, chunk: bytes) -> None:
        self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.flush()

    def _cut_after(self, rendered: Rendered, chunks: int) -> None:
        if len(rendered.chunks) > 1:
            self._stream_head(rendered)
            for chunk in rendered.chunks[:chunks]:
                self._chunk(chunk)
        else:
            body = rendered.chunks[0]
            self.send_response(200)
            self.send_header("content-type", rendered.content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.close_connection = True
        _cut(self.connection)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def main() -> None:
    """Serve until standard input ends or the parent dies."""
    parser = argparse.ArgumentParser(description="A scripted model that speaks the OpenAI protocol.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--books", help="JSON Lines file to keep the books in")
    parser.add_argument("--sampled", action="store_true", help="make each answer different")
    options = parser.parse_args()
    with ScriptedModel(sampled=options.sampled, books_path=options.books, port=options.port) as model:
        print(model.base_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()


__all__ = ["Provider", "ScriptedModel"]
