"""The door as an HTTP transport, for the official ``openai`` clients and for any other library.

``httpx2`` (which ``openai`` uses) and ``httpx`` have the same interface but unrelated classes, so the
transports are made for one or the other.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

from vertebra.errors import CallError, MissingExtra, NoVisit, VertebraError
from vertebra.nodes.visit import Visit, current_visit
from vertebra.ports import Request
from vertebra.runtime import portal
from vertebra.runtime.door import Answer
from vertebra.runtime.scope import Scope, current_scope

Library = Literal["httpx2", "httpx"]
Find = Callable[[], tuple[Scope, Visit]]
"""Finds the visit that a request belongs to. Raises ``NoVisit``."""


class Transports(NamedTuple):
    asynchronous: Any
    sync: Any


def http_client(*, sync: bool = False, library: Library = "httpx2", **options: Any) -> Any:
    """An ``AsyncClient`` (or ``Client``) whose requests pass the door of the node that makes them.

    For libraries that take an HTTP client: their calls are then journaled, retried and answered from
    the record like those of ``ctx.client``. ``options`` go to the client. Used outside of a node, a
    request raises ``NoVisit``.

    Example::

        model = ChatOpenAI(http_async_client=vertebra.http_client(), http_client=vertebra.http_client(sync=True))
    """
    return client_for(_from_context, sync=sync, library=library, **options)


def client_for(find: Find, *, sync: bool, library: Library = "httpx2", **options: Any) -> Any:
    """A client whose transport finds the visit of each request by ``find``."""
    module = _load(library)
    kinds = _transports(library)
    # The environment's proxies are honoured where requests leave, behind the door.
    options.setdefault("trust_env", False)
    if sync:
        return module.Client(transport=kinds.sync(find), **options)
    return module.AsyncClient(transport=kinds.asynchronous(find), **options)


def _from_context() -> tuple[Scope, Visit]:
    visit, scope = current_visit.get(), current_scope.get()
    if visit is None or scope is None:
        raise NoVisit("A request was made outside of any node, so it cannot be recorded.")
    return scope, scope.inner_visit(visit)


def _load(library: Library) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingExtra(f"{library} is not installed.", remedy=f"pip install {library}") from error


@cache
def _transports(library: Library) -> Transports:
    module = _load(library)

    class AsyncBody(module.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, answer: Answer) -> None:
            self._answer = answer

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                if self._answer.stream is None:
                    yield self._answer.body or b""
                else:
                    async for chunk in self._answer.stream:
                        yield chunk
            except CallError as error:
                raise _native(module, error) from error

        async def aclose(self) -> None:
            if self._answer.stream is not None:
                await self._answer.stream.aclose()

    class SyncBody(module.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, answer: Answer) -> None:
            self._answer = answer

        def __iter__(self) -> Iterator[bytes]:
            stream = self._answer.stream
            try:
                if stream is None:
                    yield self._answer.body or b""
                else:
                    yield from portal.calls.iterate(stream.__aiter__)
            except CallError as error:
                raise _native(module, error) from error

        def close(self) -> None:
            if self._answer.stream is not None:
                portal.calls.call(self._answer.stream.aclose)

    class AsyncDoorTransport(module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        """Hands requests of an async client to the door."""

        def __init__(self, find: Find) -> None:
            self._find = find

        async def handle_async_request(self, request: Any) -> Any:
            try:
                scope, visit = self._find()
                body = await request.aread()
                answer = await scope.door.call(visit, _request(request, body), scope.retry_of(visit))
            except CallError as error:
                raise _native(module, error) from error
            return module.Response(
                answer.status, headers=list(answer.headers), stream=AsyncBody(answer), extensions=_VERSION
            )

    class SyncDoorTransport(module.BaseTransport):  # type: ignore[misc, name-defined]
        """Hands requests of a sync client to the door, whose work is done on a loop of its own."""

        def __init__(self, find: Find) -> None:
            self._find = find

        def handle_request(self, request: Any) -> Any:
            try:
                scope, visit = self._find()
                with visit.on_this_strand():
                    answer = portal.calls.call(
                        scope.door.call, visit, _request(request, request.read()), scope.retry_of(visit)
                    )
            except CallError as error:
                raise _native(module, error) from error
            return module.Response(
                answer.status, headers=list(answer.headers), stream=SyncBody(answer), extensions=_VERSION
            )

    return Transports(AsyncDoorTransport, SyncDoorTransport)


_VERSION = {"http_version": b"HTTP/1.1"}


def _request(request: Any, body: bytes) -> Request:
    headers = tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers.raw)
    extensions = {k: v for k, v in request.extensions.items() if k == "timeout"}
    return Request(request.method, str(request.url), headers, body, extensions)


def _native(module: Any, error: VertebraError) -> Exception:
    """The library's own exception for ours, which stays its cause: callers catch what they know."""
    kind = getattr(module, str(error.context.get("kind", "")), None)
    if not (isinstance(kind, type) and issubclass(kind, module.TransportError)):
        kind = module.RemoteProtocolError
    native: Exception = kind(str(error))
    return native
