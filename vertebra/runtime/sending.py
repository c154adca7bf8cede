"""Sending a request for real: one HTTP client for each event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from typing import Any

from vertebra.errors import ProviderUnreachable
from vertebra.ports import Reply, Request


class HttpSender:
    """Sends through ``httpx2``, honouring the environment's proxies and certificates."""

    def __init__(self) -> None:
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()

    def _client(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            import httpx2

            limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
            client = httpx2.AsyncClient(limits=limits, follow_redirects=False, timeout=httpx2.Timeout(600, connect=10))
            self._clients[loop] = client
        return client

    async def send(self, request: Request) -> Reply:
        import httpx2

        client = self._client()
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
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


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
