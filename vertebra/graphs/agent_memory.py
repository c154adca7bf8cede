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

FIELDS = ("messages", "conversation", "subject", "turn", "kept", "refused")
"""What of the state the conversation depends on."""


class Remembering(BaseModel):
    """The part of an agent's state that says which conversation it is in, and what of it is there already."""

    conversation: str = ""
    """Its id; empty: the thread's, which its forks keep."""
    subject: str | None = None
    """Whom it is with: ``forget`` goes by it."""
    kept: int = 0
    """So many messages there were when a turn had ended last, and was in the conversation."""
    turn: int = 0
    """The messages from here on are the present turn."""
    begun: int = 0
    """So many there were when it began: before it, and its input."""
    refused: Append[int] = []
    """Which of the messages are answers that did not fit, and the reasons why: no part of what was said."""


def require_room(memory: Any) -> int:
    """Raise ``UsageError`` for what is no number of tokens."""
    if not isinstance(memory, int) or isinstance(memory, bool) or memory < 1:
        raise UsageError(f"memory={memory!r} is no room for a conversation.", remedy="give a number of tokens.")
    return memory


@transition(reads=(*FIELDS, "begun"), writes=("conversation", "turn", "begun"))
def begin(state: Any, ctx: Context) -> dict[str, Any]:
    """The first node: what the present turn is. A turn that was cancelled is no part of it, nor of any conversation."""
    turn = state.kept
    if state.begun > state.kept:  # after the input of the turn that did not end stands what its nodes have added
        turn = state.begun
        added = ("assistant", "tool")
        while turn < len(state.messages) and (turn in state.refused or state.messages[turn].get("role") in added):
            turn += 1
    return {"conversation": state.conversation or ctx.thread_id, "turn": turn, "begun": len(state.messages)}


def recalls(max_tokens: int, task: str, **more: Any) -> Node[..., Any]:
    """The node that has what no longer fits summarised, so that the window has it."""

    @llm(task=task, reads=("conversation", "subject"), writes=(), **more)
    async def recall(state: Any, ctx: Context) -> dict[str, Any]:
        await _talk(state, ctx).summarise(max_tokens=max_tokens, task=task)
        return {}

    return recall


async def asked(state: Any, ctx: Context, max_tokens: int | None) -> list[dict[str, Any]]:
    """The messages that the model is given: what was said before, as far as there is room, and the present turn."""
    if max_tokens is None:
        return closed(state.messages)
    window = await _talk(state, ctx).window(max_tokens=max_tokens)
    return [*window.to_openai(), *state.messages[state.turn :]]


def rejects(messages: Sequence[Any]) -> dict[str, Any]:
    """The update that notes that the last message does not fit, and that why it does not follows."""
    return {"refused": [len(messages) - 1, len(messages)]}


@transition(reads=FIELDS, writes=("kept",))
def remember(state: Any, ctx: Context) -> dict[str, Any]:
    """The last node: the turn becomes part of the conversation, with the very superstep that notes that it is."""
    talk = _talk(state, ctx)
    for number in range(state.turn, len(state.messages)):
        if number not in state.refused:
            talk.append_sync(state.messages[number])
    return {"kept": len(state.messages)}


def _talk(state: Any, ctx: Context) -> NodeConversation:
    return ctx.memory.conversation(state.conversation, subject=state.subject)


def closed(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, with an answer for each call that a turn which was cancelled has left without one."""
    found: list[dict[str, Any]] = []
    due: list[str] = []
    for message in messages:
        if message.get("role") == "tool":
            due = [id for id in due if id != message.get("tool_call_id")]
        else:
            found += [told_of(id, "Not done: the turn was cancelled.") for id in due]
            due = [each["id"] for each in message.get("tool_calls") or ()]
        found.append(message)
    return found


def told_of(call_id: str, content: str) -> dict[str, Any]:
    """The message that tells the model what became of a call."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}
