"""What tests of memory are made of."""

from __future__ import annotations

from typing import Any

from vertebra.memory import Conversation, Message


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


async def said(conversation: Conversation, **bounds: Any) -> list[str]:
    return texts(await conversation.messages(**bounds))
