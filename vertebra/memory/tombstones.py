"""What is left of a message when it is forgotten: who spoke, and which answer belongs to which call."""

from __future__ import annotations

import hashlib
from typing import Any, get_args

from vertebra.memory.messages import ChatMessage, Role

TEXT = "[forgotten]"
NAME = "forgotten"


def tombstone(chat: ChatMessage) -> ChatMessage:
    """A message in its place that the API still takes, so that threads with this conversation run on.

    A tool's answer keeps its call: both have the same new id, whichever of them is forgotten first.
    """
    left: dict[str, Any] = {"role": chat.role, "content": TEXT}
    if chat.role == "tool":
        left["tool_call_id"] = _call_id(chat.tool_call_id or "")
    elif chat.tool_calls:
        function = {"name": NAME, "arguments": "{}"}
        left["tool_calls"] = [{"id": _call_id(call.id), "function": function} for call in chat.tool_calls]
        del left["content"]
    return ChatMessage.model_validate(left)


def unknown(role: str) -> ChatMessage:
    """What is left of a message that cannot be read."""
    known = role if role in get_args(Role) else "user"
    return ChatMessage.model_validate(
        {"role": known, "content": TEXT, **({"tool_call_id": _call_id("")} if known == "tool" else {})}
    )


def _call_id(id: str) -> str:
    return f"{NAME}-{hashlib.sha256(id.encode()).hexdigest()[:16]}"
