"""The conversation that an agent keeps across threads: what of it the model is given, and what is added to it.

A turn is added whole, when it has ended: its call of a tool and the answer to it stand side by side, whoever else
speaks in that conversation meanwhile, and a turn that never ends leaves no call without its answer, which the API
would refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from vertebra.errors import UsageError
from vertebra.graphs.state import Append
from vertebra.nodes.context import Context
from vertebra.nodes.kinds import Node, llm, transition
from vertebra.ports import NodeConversation

FIELDS = ("messages", "conversation", "subject", "kept", "refused")
"""What of the state the conversation depends on."""


class Remembering(BaseModel):
    """The part of an agent's state that says which conversation it is in, and what of it is there already."""

    conversation: str = ""
    """Its id; empty: the thread's."""
    subject: str | None = None
    """Whom it is with: ``forget`` goes by it."""
    kept: int = 0
    """So many of the messages are in the conversation."""
    refused: Append[int] = []
    """Which of the messages are answers that did not fit, and the reasons why: no part of what was said."""


def require_room(memory: Any) -> int:
    """Raise ``UsageError`` for what is no number of tokens."""
    if not isinstance(memory, int) or isinstance(memory, bool) or memory < 1:
        raise UsageError(f"memory={memory!r} is no room for a conversation.", remedy="give a number of tokens.")
    return memory


def recalls(max_tokens: int, task: str, **more: Any) -> Node[..., Any]:
    """The first node: what no longer fits is summarised, so that the window has it."""

    @llm(task=task, reads=("conversation", "subject"), writes=(), **more)
    async def recall(state: Any, ctx: Context) -> dict[str, Any]:
        await _talk(state, ctx).summarise(max_tokens=max_tokens, task=task)
        return {}

    return recall


async def asked(state: Any, ctx: Context, max_tokens: int | None) -> list[dict[str, Any]]:
    """The messages that the model is given: what was said before, as far as there is room, and the present turn."""
    if max_tokens is None:
        return list(state.messages)
    window = await _talk(state, ctx).window(max_tokens=max_tokens)
    return [*window.to_openai(), *state.messages[state.kept :]]


def rejects(messages: Sequence[Any]) -> dict[str, Any]:
    """The update that notes that the last message does not fit, and that why it does not follows."""
    return {"refused": [len(messages) - 1, len(messages)]}


@transition(reads=FIELDS, writes=("kept",))
def remember(state: Any, ctx: Context) -> dict[str, Any]:
    """The last node: the turn becomes part of the conversation, with the very superstep that notes that it is."""
    talk = _talk(state, ctx)
    for number in range(state.kept, len(state.messages)):
        if number not in state.refused:
            talk.append_sync(state.messages[number])
    return {"kept": len(state.messages)}


def _talk(state: Any, ctx: Context) -> NodeConversation:
    return ctx.memory.conversation(state.conversation or ctx.thread_id, subject=state.subject)
