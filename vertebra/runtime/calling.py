"""Calling what a node is made of: with the arguments it names, in its own thread, within its time."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable
from typing import Any

from vertebra.errors import NodeTimeout
from vertebra.nodes.context import Context
from vertebra.nodes.kinds import NodeSpec
from vertebra.nodes.visit import Visit
from vertebra.runtime.scope import Scope

_log = logging.getLogger("vertebra.node")


def make_context(
    scope: Scope,
    spec: NodeSpec,
    visit: Visit,
    *,
    attempt: int = 1,
    idempotency_key: str | None = None,
    error: BaseException | None = None,
) -> Context:
    """The ``ctx`` of one execution."""
    # Not "thread": that is a LogRecord's own.
    place = {"thread_id": visit.thread, "run_id": visit.run_id, "node": visit.node, "step": visit.step}
    return Context(
        scope,
        visit,
        kind=spec.kind,
        task=spec.task,
        attempt=attempt,
        principal=scope.principal,
        log=logging.LoggerAdapter(_log, place),
        idempotency_key=idempotency_key,
        error=error,
    )


async def invoke(
    scope: Scope,
    spec: NodeSpec,
    visit: Visit,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    config: Any = None,
    **about: Any,
) -> Any:
    """Call the function with ``args``, adding ``ctx`` and ``config`` where it names them."""
    extra = dict(kwargs or {})
    named = spec.parameters[len(args) :]
    for name in ("ctx", "context"):
        if name in named and name not in extra:
            extra[name] = make_context(scope, spec, visit, **about)
    if "config" in named and "config" not in extra:
        extra["config"] = config
    if not spec.parameters:
        args = ()
    call = functools.partial(spec.fn, *args, **extra)
    if spec.is_async:
        return await call()
    result = await in_thread(scope, call, visit)
    return await result if asyncio.iscoroutine(result) else result


async def in_thread(scope: Scope, call: Callable[[], Any], visit: Visit) -> Any:
    """Run sync code on a node's thread, with the context variables of this task."""
    context = contextvars.copy_context()

    def work() -> Any:
        visit.enter_body()
        return call()

    return await asyncio.get_running_loop().run_in_executor(scope.services.executor, context.run, work)


async def within(seconds: float | None, visit: Visit, work: Any) -> Any:
    """Await ``work`` for at most ``seconds``. Raises ``NodeTimeout``, and fences the visit off.

    A thread cannot be stopped: what it still does after the timeout is refused at the door.
    """
    if seconds is None:
        return await work
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError as error:
        if not limit.expired():
            raise
        visit.close()
        raise NodeTimeout(f"Node {visit.node!r} took longer than {seconds:g} s.", node=visit.node) from error
