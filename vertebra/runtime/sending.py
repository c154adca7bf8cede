"""Sending a request for real: one HTTP client for each event loop, closed with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple

from vertebra.errors import ProviderUnreachable
from vertebra.ports import Reply, Request

_CLOSING_S = 2.0
"""So long a loop in another thread is waited for; one that is blocked closes its connections when it goes on."""


class _Client(NamedTuple):
    http: Any
    life: AsyncGenerator[Any, None]
    """Closes the client where it ends, which a loop that ends properly sees to (``shutdown_asyncgens``)."""
    pid: int


_Clients = dict[asyncio.AbstractEventLoop, _Client]


class HttpSender:
    """Sends through ``httpx2``, honouring the environment's proxies and certificates.

    Connections stay open between requests, until the sender is closed or collected, or their loop ends.
    """

    def __init__(self) -> None:
        self._clients: _Clients = {}
        # Outlives the sender: connections that are collected with it would be cut, and Python warn of each.
        weakref.finalize(self, _close_all, self._clients)

    async def _client(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for other in [other for other in list(self._clients) if other.is_closed()]:  # without its generators
                self._clients.pop(other, None)
            life = _life(self._clients, loop)
            client = self._clients[loop] = _Client(await anext(life), life, os.getpid())
        return client.http

    async def send(self, request: Request) -> Reply:
        import httpx2

        client = await self._client()
        outgoing = client.build_request(
            request.method,
            request.url,
            headers=[(k, v) for k, v in request.headers if k.lower() not in _NOT_FORWARDED],
            content=request.body,
            extensions=dict(request.extensions),
        )
        try:
            response = await client.send(outgoing, stream=True)
        except (httpx2.TransportError, OSError, ExceptionGroup) as error:  # a group: an impossible port
            raise unreachable(error, request) from error

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in response.aiter_bytes():
                    yield chunk
            except (httpx2.TransportError, httpx2.DecodingError, OSError) as error:
                raise unreachable(error, request) from error

        headers = tuple((k, v) for k, v in response.headers.multi_items() if k.lower() not in _NOT_RETURNED)
        return Reply(response.status_code, headers, chunks(), response.aclose)

    async def aclose(self) -> None:
        """Close the connections, those of loops in other threads among them."""
        closing = [asyncio.wrap_future(future) for future in _close_all(self._clients)]
        if closing:
            await asyncio.wait(closing, timeout=_CLOSING_S)

    def close(self) -> None:
        """The same from sync code; called on a loop, it does not wait."""
        closing = _close_all(self._clients)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            concurrent.futures.wait(closing, timeout=_CLOSING_S)


async def _life(clients: _Clients, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Any, None]:
    import httpx2

    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
    http = httpx2.AsyncClient(limits=limits, follow_redirects=False, timeout=httpx2.Timeout(600, connect=10))
    try:
        yield http
    finally:
        clients.pop(loop, None)
        await http.aclose()


def _close_all(clients: _Clients) -> list[concurrent.futures.Future[None]]:
    """Have each running loop close its client. What a process inherited by fork is its parent's to close."""
    return [
        asyncio.run_coroutine_threadsafe(_close(clients, loop, client), loop)
        for loop, client in list(clients.items())
        if loop.is_running() and client.pid == os.getpid()
    ]


async def _close(clients: _Clients, loop: asyncio.AbstractEventLoop, client: _Client) -> None:
    if clients.get(loop) is client:
        await client.life.aclose()


_NOT_FORWARDED = frozenset({"host", "content-length", "transfer-encoding", "connection"})
# The body is handed on decoded and whole, so what described its coding no longer holds.
_NOT_RETURNED = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})


def unreachable(error: BaseException, request: Request) -> ProviderUnreachable:
    """A lower layer's error as ours; ``kind`` keeps its name, to be raised again for the caller's library."""
    kind = type(error).__name__
    host = request.url.split("?")[0]
    what = "did not answer in time" if "Timeout" in kind else "could not be reached, or broke the connection off"
    detail = f": {error}" if str(error) else ""
    return ProviderUnreachable(f"{host} {what} ({kind}{detail}).", kind=kind)
