"""The scripted model's HTTP server: bytes on sockets, chunks, keep-alive, and faults done for real."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from vertebra.testing.provider import Decision, Provider

POLL_S = 0.02


# Not http.server's own class: that one asks DNS for the name of its address.
class ScriptServer(ThreadingMixIn, TCPServer):
    """Listens on 127.0.0.1; a thread for each connection. Port 0: any that is free."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, provider: Provider, port: int = 0) -> None:
        self.provider = provider
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Cut every connection: what hangs comes to an end."""
        self.stopping.set()
        for connection in list(self._open):
            cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's."""


class Handler(BaseHTTPRequestHandler):
    """One connection: requests one after the other, as long as the client keeps it open."""

    protocol_version = "HTTP/1.1"
    # Without these each answer is several small packets, and waits 40 ms for a delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: ScriptServer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the books tell it."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        decision = self.server.provider.decide(self.command, self.path, headers, self._body())
        hangs = decision.answer.fault == "hang"
        if self._is_left_alone(None if hangs else decision.answer.delay_s):
            self.server.provider.books.undelivered(decision.entry)
            self.close_connection = True
            return
        try:
            self._send(decision)
            self.wfile.flush()
        except OSError:
            self.server.provider.books.undelivered(decision.entry)
            self.close_connection = True
            return
        if decision.answer.fault == "cut":
            self.close_connection = True
            cut(self.connection)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", "").lower():
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(body)

    def _is_left_alone(self, seconds: float | None) -> bool:
        """Wait (None: for ever); true if the client or the server ended it first."""
        until = None if seconds is None else time.monotonic() + seconds
        while until is None or time.monotonic() < until:
            wait_s = POLL_S if until is None else min(POLL_S, max(0.0, until - time.monotonic()))
            if self.server.stopping.is_set() or is_gone(self.connection, wait_s):
                return True
        return False

    def _send(self, decision: Decision) -> None:
        rendered, is_cut = decision.rendered, decision.answer.fault == "cut"
        streams = rendered.streams and decision.answer.fault != "bad_json"
        self.send_response(decision.status)
        for name, value in decision.headers.items():
            self.send_header(name, value)
        if streams:
            self.send_header("transfer-encoding", "chunked")
        else:
            # A cut body is announced whole, so that the client sees it break off.
            promised = rendered.chunks if is_cut else decision.chunks
            self.send_header("content-length", str(sum(map(len, promised))))
        self.end_headers()
        for chunk in decision.chunks:
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" if streams else chunk)
            self.wfile.flush()
        if streams and not is_cut:
            self.wfile.write(b"0\r\n\r\n")


def is_gone(connection: socket.socket, wait_s: float) -> bool:
    """Whether the other side closes the connection within a while."""
    try:
        readable, _, _ = select.select([connection], [], [], wait_s)
        if not readable:
            return False
        if connection.recv(1, socket.MSG_PEEK) == b"":
            return True
    except (OSError, ValueError):
        return True
    # A pipelined request waits there: nothing has ended, and polling it again would spin.
    time.sleep(wait_s)
    return False


def cut(connection: socket.socket) -> None:
    """Break a connection off, also where a forked child still holds it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
