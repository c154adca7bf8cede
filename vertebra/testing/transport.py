"""The scripted model without sockets: a sender in process, whose only waiting is the loop's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from vertebra.errors import ProviderUnreachable
from vertebra.ports import Reply, Request
from vertebra.testing.books import Books
from vertebra.testing.protocol import error_body
from vertebra.testing.script import Matcher, Rule
from vertebra.testing.scripted_model import Provider

HANG_S = 3600.0


class ScriptedTransport:
    """Pass it as ``compile(sender=...)``: the official client is used as ever, but nothing leaves the process.

    With a virtual clock, delays and hangs take no time.
    """

    def __init__(
        self, *, sampled: bool = False, books_path: str | os.PathLike[str] | None = None, latency_s: float = 0.01
    ) -> None:
        self._provider = Provider(sampled=sampled, books_path=books_path)
        self._latency_s = latency_s

    @property
    def books(self) -> Books:
        return self._provider.books

    def on(self, matcher: Matcher = "") -> Rule:
        """A rule, as ``ScriptedModel.on``."""
        return self._provider.script.on(matcher)

    async def send(self, request: Request) -> Reply:
        """Answer the request. Raises ``ProviderUnreachable`` where the script hangs longer than the client waits."""
        await asyncio.sleep(self._latency_s)
        path = urlsplit(request.url).path
        _, answer, rendered = self._provider.decide(path, request.header_map, request.body)
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        if answer.fault == "hang":
            timeout = request.extensions.get("timeout") or {}
            await asyncio.sleep(timeout.get("read") or HANG_S)
            raise ProviderUnreachable("The scripted model hangs.", kind="ReadTimeout")
        if rendered is None:
            headers = [("content-type", "application/json")]
            if answer.retry_after_s is not None:
                headers.append(("retry-after", f"{answer.retry_after_s:g}"))
            return _reply(answer.status, tuple(headers), (error_body(answer.status),), None)
        chunks, cut = rendered.chunks, None
        if answer.fault == "bad_json":
            body = b"".join(chunks)
            chunks = (body[: len(body) // 2],)
        if answer.fault == "cut":
            cut = answer.after_chunks if len(chunks) > 1 else 0
        return _reply(200, (("content-type", rendered.content_type),), chunks, cut)

    async def aclose(self) -> None:
        """Nothing is open."""


def _reply(status: int, headers: tuple[tuple[str, str], ...], chunks: tuple[bytes, ...], cut: int | None) -> Reply:
    async def stream() -> AsyncIterator[bytes]:
        for number, chunk in enumerate(chunks):
            if number == cut:
                raise ProviderUnreachable("The scripted model cut the answer.", kind="RemoteProtocolError")
            await asyncio.sleep(0)
            yield chunk

    async def close() -> None:
        return None

    return Reply(status, headers, stream(), close)
