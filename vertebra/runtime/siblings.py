"""The nodes of one superstep: one that fails lets the others finish before the superstep is stopped.

LangGraph cancels the siblings of a failing node at once. A call that one of them has in flight would be
paid, its answer lost, and paid again on resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Superstep = tuple[str, int]
"""The checkpoint namespace of a loop, and its step."""


class Siblings:
    """Which nodes of a drive are being executed, by superstep. For one event loop."""

    def __init__(self) -> None:
        self._running: dict[Superstep, int] = {}
        self._idle: dict[Superstep, asyncio.Event] = {}

    @asynccontextmanager
    async def one_of(self, superstep: Superstep) -> AsyncIterator[None]:
        """Around a node; an error leaves it when no sibling is being executed any more."""
        self._running[superstep] = self._running.get(superstep, 0) + 1
        idle = self._idle.setdefault(superstep, asyncio.Event())
        try:
            yield
        except Exception as error:
            self._leave(superstep)
            if not belongs_to_langgraph(error):
                await idle.wait()
            raise
        except BaseException:
            self._leave(superstep)
            raise
        else:
            self._leave(superstep)

    def _leave(self, superstep: Superstep) -> None:
        self._running[superstep] -= 1
        if not self._running[superstep]:
            del self._running[superstep]
            self._idle.pop(superstep).set()


def belongs_to_langgraph(error: BaseException) -> bool:
    """Whether an exception is LangGraph's control flow: an interrupt, a drain, a command to the parent."""
    from langgraph.errors import GraphBubbleUp

    return isinstance(error, GraphBubbleUp)
