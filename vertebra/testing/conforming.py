"""Whether a LangGraph checkpointer does all that the spine relies on: the public suite, and checks of our own.

The public suite (langgraph-checkpoint-conformance) leaves out what a saver does not implement; here that is a
failure. Ours add what it does not ask: order, concurrency, death of the process, values that are hard to keep.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from itertools import count
from typing import Any

from vertebra.errors import MissingExtra
from vertebra.testing.conformance_checks import CHECKS, LONG_CHECKS, put

Opened = Any
"""A saver, or a context manager (sync or async) that gives one."""

CAPABILITIES = (
    *("put", "put_writes", "get_tuple", "list", "delete_thread", "delete_for_runs", "copy_thread", "prune"),
    "get_delta_channel_history",
)


def conformance(open: Callable[[str], Opened], *, durable: bool = True, long: bool = False) -> list[str]:
    """Check a saver; returns the names of the checks, all of which passed.

    ``open(name)`` opens the store of that name: an empty one at first, the same one when asked again (in another
    process, too, if it is ``durable``). ``long`` adds 10,000 checkpoints. Must not be called in an event loop.

    Raises ``AssertionError`` with all that failed, ``MissingExtra`` without langgraph-checkpoint-conformance.

    Example::

        conformance(lambda name: SqliteCheckpointer(f"sqlite:///{name}.db"))
    """
    try:
        import langgraph.checkpoint.conformance as public
    except ImportError as error:
        raise MissingExtra(
            "The public suite is not installed.", remedy="pip install 'vertebra[test]'", extra="test"
        ) from error
    failures: dict[str, str] = {}
    passed: list[str] = []
    if durable:  # at first: a process with threads should not be forked
        _collect("killed", passed, failures, lambda: _survives_a_kill(open))
    if (fault := asyncio.run(_fault(open))) is not None:
        raise AssertionError(fault)
    asyncio.run(_check(open, public, passed, failures, LONG_CHECKS if long else ()))
    if failures:
        raise AssertionError("\n\n".join(f"{name}:\n{why}" for name, why in failures.items()))
    return passed


async def _fault(open: Callable[[str], Opened]) -> str | None:
    """Why no check can be made of what ``open`` gives, in a sentence."""
    try:
        async with _opened(open, "fault") as saver:
            kind = type(saver).__name__
            if not all(callable(getattr(saver, method, None)) for method in ("aput", "aget_tuple")):
                return f"open() gives a {kind}, which is no LangGraph checkpointer: it has no aput and aget_tuple."
            try:
                await saver.aget_tuple({"configurable": {"thread_id": "fault", "checkpoint_ns": ""}})
            except NotImplementedError:
                return f"{kind} is for sync code alone; the spine calls aput, aget_tuple and their like."
            except Exception:
                return None  # for the checks to tell
    except Exception as error:
        return f"open() raised {type(error).__name__}: {error}"
    return None


async def _check(
    open: Callable[[str], Opened], public: Any, passed: list[str], failures: dict[str, str], more: Any
) -> None:
    names = (f"store_{number}" for number in count())
    async with _opened(open, next(names)) as saver:
        for name in CAPABILITIES:
            _collect(f"has {name}", passed, failures, lambda name=name: _has(saver, name))  # type: ignore[misc]

    @public.checkpointer_test(name="saver")  # type: ignore[untyped-decorator]
    async def fresh() -> AsyncIterator[Any]:
        async with _opened(open, next(names)) as saver:
            yield saver

    report = await public.validate(fresh)
    for capability, result in report.results.items():
        for failure in result.failures:
            failures[f"public {capability}"] = failure
        if not result.detected:
            failures[f"public {capability}"] = "not implemented"
        passed += [f"public {capability}"] * result.tests_passed
    for check in (*CHECKS, *more):
        try:
            async with _opened(open, next(names)) as saver:
                await check(saver)
            passed.append(check.__name__)
        except Exception:
            failures[check.__name__] = traceback.format_exc()


@asynccontextmanager
async def _opened(open: Callable[[str], Opened], name: str) -> AsyncIterator[Any]:
    found = open(name)
    if isinstance(found, Awaitable):
        found = await found
    if isinstance(found, AbstractAsyncContextManager):
        async with found as saver:
            yield saver
    elif isinstance(found, AbstractContextManager):
        with found as saver:
            yield saver
    else:
        yield found


def _collect(name: str, passed: list[str], failures: dict[str, str], check: Callable[[], None]) -> None:
    try:
        check()
        passed.append(name)
    except Exception:
        failures[name] = traceback.format_exc()


def _has(saver: Any, name: str) -> None:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    mine, inherited = getattr(type(saver), f"a{name}", None), getattr(BaseCheckpointSaver, f"a{name}")
    there = mine is not None and (name == "get_delta_channel_history" or mine is not inherited)
    assert there, f"a{name} is not implemented"
    if name == "prune":
        assert "strategy" in inspect.signature(saver.aprune).parameters


def _survives_a_kill(open: Callable[[str], Opened]) -> None:
    """Whatever a put has returned for is there after SIGKILL, and its parents' writes with it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:

        async def drive() -> None:
            async with _opened(open, "killed") as saver:
                config: Any = None
                for step in range(20):
                    config = await put(saver, "t", {"n": step, "log": list(range(step))}, after=config)
                    os.write(writer, b"p")
                    if step == 12:
                        os.kill(os.getpid(), signal.SIGKILL)
                    await saver.aput_writes(config, [("n", step)], f"task {step}")

        try:
            asyncio.run(drive())
        finally:
            os._exit(1)
    os.close(writer)
    status = os.waitpid(child, 0)[1]
    returned = len(os.read(reader, 1000))
    os.close(reader)
    assert os.WIFSIGNALED(status), "the child could not write"

    async def look() -> None:
        async with _opened(open, "killed") as saver:
            found = [item async for item in saver.alist({"configurable": {"thread_id": "t"}})]
            assert len(found) == returned
            assert found[0].checkpoint["channel_values"] == {"n": 12, "log": list(range(12))}
            assert all(len(item.pending_writes or []) == 1 for item in found[1:])

    asyncio.run(look())
