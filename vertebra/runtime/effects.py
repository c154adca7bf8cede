"""Effects through the same journal: done once for their arguments, with the outcome recorded."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any

from vertebra.errors import UsageError
from vertebra.nodes.kinds import Node
from vertebra.nodes.visit import Visit, collecting
from vertebra.ports import crash_point
from vertebra.runtime.call import Call
from vertebra.runtime.door import Door
from vertebra.runtime.requests import identify_effect, json_text
from vertebra.types import RecordedAnswer

OUTBOX_HEADER = "vertebra-outbox"
"""What an effect appended to memory, recorded with its result: its body is not run a second time."""

Invoke = Callable[[str], Awaitable[Any]]
"""Do the effect, given its idempotency key."""


def jsonable(value: Any, what: str) -> Any:
    """The value as plain JSON data. Raises ``UsageError`` where that is impossible."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, UnicodeEncodeError) as error:  # the latter of half a surrogate pair in a key
        raise UsageError(
            f"{what} cannot be written as JSON: {error}.", remedy="use plain data or pydantic models."
        ) from error


async def once(
    door: Door, visit: Visit, name: str, args: Any, invoke: Invoke, check: Callable[[str], Awaitable[Any]] | None
) -> Any:
    """The outcome of an effect: recorded, found out by ``check``, or done now."""
    identity = identify_effect(name, jsonable(args, f"The arguments of effect {name!r}"))
    async with Call(door.parts, visit, identity) as call:
        recorded = await call.begin("effect")
        if recorded is not None:
            for item in json.loads(dict(recorded.headers).get(OUTBOX_HEADER, "[]")):
                visit.post(item)
            return json.loads(recorded.body)
        crash_point("effect.intent")
        key = call.key.idempotency_key
        outcome: Any = None
        with collecting() as posted:
            if check is not None and call.record_before is not None and call.record_before.sends > 1:
                # It was begun before and no outcome is known: ask the other system first.
                outcome = await check(key)
            if outcome is None:
                try:
                    outcome = await invoke(key)
                except (Exception, asyncio.CancelledError) as error:
                    await call.note(f"raised {type(error).__name__}", None, None)
                    raise
        crash_point("effect.done")
        plain = jsonable(outcome, f"The result of effect {name!r}")
        body = json_text(plain).encode()
        headers = [("content-type", "application/json")]
        if posted:
            headers.append((OUTBOX_HEADER, json.dumps(posted)))
        await call.record(RecordedAnswer(200, tuple(headers), body))
        crash_point("effect.recorded")
        for item in posted:
            visit.post(item)
        # As it will be read from the record: a first execution must not see more than a later one.
        return json.loads(body)


def effect_name(fn: Any) -> str:
    """The name under which a function's calls are recorded."""
    if isinstance(fn, Node):
        return fn.name
    return str(getattr(fn, "__qualname__", type(fn).__qualname__)).replace("<locals>.", "")


def bound_arguments(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name, so that positional and keyword calls are the same call."""
    target = fn.spec.fn if isinstance(fn, Node) else fn
    try:
        signature = inspect.signature(target)
        bound = signature.bind_partial(*args, **kwargs)
    except (TypeError, ValueError):
        return {"args": list(args), **kwargs}
    return {name: value for name, value in bound.arguments.items() if name != "ctx"}
