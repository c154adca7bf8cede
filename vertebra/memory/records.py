"""What memory hands out: messages with where they come from, conversations, branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory import content
from vertebra.memory.messages import ChatMessage, Part, Role, ToolCall, read_kept

MAIN = "main"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a message was made; empty outside of any graph."""

    thread: str | None = None
    run: str | None = None
    node: str | None = None
    step: int | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. ``id`` grows with each append, over all branches; ``at`` is Unix seconds.

    ``forgotten_at``: when its content was taken away; then ``chat`` says no more than who spoke.
    """

    id: int
    branch: str
    chat: ChatMessage
    at: float
    key: str | None = None
    tokens: int | None = None
    provenance: Provenance = field(default_factory=Provenance)
    forgotten_at: float | None = None
    pinned: bool = False
    """Whether it stands first in each window."""

    @property
    def role(self) -> Role:
        """Who speaks."""
        return self.chat.role

    @property
    def content(self) -> str | tuple[Part, ...] | None:
        """A text, or parts."""
        return self.chat.content

    @property
    def text(self) -> str:
        """The text of the content, parts of other kinds left out."""
        return self.chat.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """What an assistant asks for."""
        return self.chat.tool_calls or ()

    def to_openai(self) -> dict[str, Any]:
        """The message as ``messages=[...]`` of the API takes it."""
        return self.chat.to_openai()


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of a conversation: what ``parent`` said up to message ``at``, then its own. 0: nothing is shared."""

    name: str
    parent: str | None
    at: int
    created_at: float


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation as it is listed. ``messages`` counts those of all branches; times are Unix seconds."""

    id: str
    subject: str | None
    title: str | None
    tags: tuple[str, ...]
    messages: int
    created_at: float
    updated_at: float
    ttl_s: float | None = None


MESSAGE_COLUMNS = (
    "m.id, m.branch, m.message, m.at, m.append_key, m.tokens, m.thread, m.run, m.node, m.step, m.model, "
    "m.forgotten_at, m.pinned"
)


def message_of(tx: Tx, scope: tuple[str, str], row: Sequence[Any]) -> Message:
    """From a row of ``MESSAGE_COLUMNS`` of a tenant's conversation. Raises ``EncryptionError``, ``StoreCorrupt``."""
    number, branch, text, at, key, tokens, thread, run, node, step, model, forgotten_at, pinned = row
    where = Provenance(thread, run, node, None if step is None else int(step), model)
    chat = content.MESSAGE.read(tx, text, read_kept, *scope, int(number))
    return Message(
        int(number),
        branch,
        chat,
        float(at),
        key,
        None if tokens is None else int(tokens),
        where,
        forgotten_at,
        bool(pinned),
    )
