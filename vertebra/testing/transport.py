"""The scripted model without sockets: a sender in process, whose only waiting is the loop's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import overload
from urllib.parse import urlsplit

from vertebra.errors import ProviderUnreachable
from vertebra.ports import Reply, Request
from vertebra.testing.books import Books
from vertebra.testing.provider import Decision, Provider
from vertebra.testing.script import Matcher, Rule

HANG_S = 3600.0
"""How long a hang lasts where the request has no timeout: then the connection is lost."""


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """A response. ``chunks`` raises ``ConnectionResetError`` where the script cuts it."""

    status: int
    headers: dict[str, str]
    chunks: AsyncIterator[bytes]


class ScriptedTransport:
    """Script and books of a ``ScriptedModel``, with nothing leaving the process.

    Pass it as ``compile(sender=...)``: the official client is used as ever. Waiting is ``asyncio.sleep``
    alone, so that on a ``ShuffledLoop`` delays and hangs take no time.
    """

    def __init__(
        self, *, sampled: bool = False, books_path: str | os.PathLike[str] | None = None, latency_s: float = 0.01
    ) -> None:
        self._provider = Provider(sampled=sampled, books_path=books_path)
        self._latency_s = latency_s

    @property
    def books(self) -> Books:
        """What has reached this model so far."""
        return self._provider.books

    def on(self, matcher: Matcher = "") -> Rule:
        """A rule, as ``ScriptedModel.on``."""
        return self._provider.script.on(matcher)

    @overload
    async def send(self, request: Request) -> Reply: ...

    @overload
    async def send(self, request: str, path: str, headers: Mapping[str, str], body: bytes) -> ScriptedReply: ...

    async def send(
        self, request: Request | str, path: str = "", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply | ScriptedReply:
        """Answer a request, given as the door's ``Request`` or as method, path, headers and body.

        A hang ends after the request's read timeout (an hour without one). Hangs and cuts raise
        ``ProviderUnreachable`` to the door, and ``TimeoutError`` and ``ConnectionResetError`` otherwise.
        """
        if isinstance(request, str):
            return await self._exchange(request, path, headers or {}, body, None)
        timeout_s = (request.extensions.get("timeout") or {}).get("read")
        where = urlsplit(request.url).path
        try:
            reply = await self._exchange(request.method, where, request.header_map, request.body, timeout_s)
        except TimeoutError as error:
            raise ProviderUnreachable(str(error), kind="ReadTimeout") from error
        return Reply(reply.status, tuple(reply.headers.items()), _for_the_door(reply.chunks), _close)

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float | None
    ) -> ScriptedReply:
        await asyncio.sleep(self._latency_s)
        lower = {key.lower(): value for key, value in headers.items()}
        decision = self._provider.decide(method, path, lower, body)
        hangs = decision.answer.fault == "hang"
        wait_s = (timeout_s or HANG_S) if hangs else decision.answer.delay_s
        is_late = timeout_s is not None and wait_s > timeout_s
        if is_late:
            wait_s = timeout_s or 0.0
        await asyncio.sleep(wait_s)
        if hangs or is_late:
            self.books.undelivered(decision.entry)
            raise TimeoutError(f"The scripted model did not answer within {wait_s:g} s.")
        return ScriptedReply(decision.status, decision.headers, _chunks(decision))

    async def aclose(self) -> None:
        """Nothing is open."""


async def _chunks(decision: Decision) -> AsyncIterator[bytes]:
    for chunk in decision.chunks:
        await asyncio.sleep(0)
        yield chunk
    if decision.answer.fault == "cut":
        raise ConnectionResetError("The scripted model cut the answer.")


async def _for_the_door(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except ConnectionResetError as error:
        raise ProviderUnreachable(str(error), kind="RemoteProtocolError") from error


async def _close() -> None:
    """Nothing is open."""
