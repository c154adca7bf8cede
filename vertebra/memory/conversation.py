"""A conversation as its user holds it: each method a transaction, from async or from sync code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from vertebra.databases.database import Database, Tx
from vertebra.errors import UsageError
from vertebra.memory import appending, changing, reading, summarising, windows
from vertebra.memory.appending import Draft
from vertebra.memory.counting import Estimator, TokenCounter
from vertebra.memory.keeping import ttl
from vertebra.memory.messages import read_message
from vertebra.memory.place import KEY_BYTES, Place, name_of, text_of
from vertebra.memory.records import Branch, ConversationRecord, Message, Provenance
from vertebra.memory.summarising import Summary
from vertebra.memory.windows import Strategy, View, Window

T = TypeVar("T")
Work = Callable[[Tx], T]


class Conversation:
    """One line of one conversation; made by ``Memory.conversation``, which reads and writes nothing.

    It comes into being with its first message, branch, title or tag. Safe in any event loop and thread.
    Every method raises ``SubjectMismatch`` where the conversation is with another subject.
    """

    def __init__(self, database: Database, place: Place, subject: str | None) -> None:
        self._database, self._place, self._subject = database, place, subject

    @property
    def id(self) -> str:
        """Its id, unique within its tenant."""
        return self._place.id

    @property
    def branch_name(self) -> str:
        """The branch that this handle reads and appends to; ``main`` unless another was named."""
        return self._place.branch

    async def append(
        self, message: Any, *, key: str | None = None, tokens: int | None = None, provenance: Provenance | None = None
    ) -> Message:
        """Append a message, in the shape of OpenAI's API, once a ``key``.

        ``message``: a dict, or what the ``openai`` library returned. The same key with an equal message again:
        nothing happens, the first one is returned. Raises ``MessageInvalid``, ``MessageMismatch`` and
        ``BranchNotFound``. Safe to retry with a key; without one, each call appends.

        Example::

            await conversation.append({"role": "user", "content": "He coughs."}, key="visit-42/1")
        """
        return await self._database.run(self._append(message, key, tokens, provenance))

    def append_sync(
        self, message: Any, *, key: str | None = None, tokens: int | None = None, provenance: Provenance | None = None
    ) -> Message:
        """``append`` for sync code."""
        return self._database.run_sync(self._append(message, key, tokens, provenance))

    async def messages(
        self, *, last: int | None = None, before: int | None = None, after: int | None = None
    ) -> list[Message]:
        """The messages of this line in their order, with those that it shares; none where there is none yet.

        ``before`` and ``after`` are message ids, both excluded; of what they leave, the ``last`` ones.
        Raises ``BranchNotFound``.
        """
        return await self._database.run(self._messages(last, before, after))

    def messages_sync(
        self, *, last: int | None = None, before: int | None = None, after: int | None = None
    ) -> list[Message]:
        """``messages`` for sync code."""
        return self._database.run_sync(self._messages(last, before, after))

    async def window(
        self, *, max_tokens: int, strategy: Strategy = "stable", counter: TokenCounter | None = None
    ) -> Window:
        """The part of this line that fits into ``max_tokens``: what a model is to see.

        First the system and pinned messages, then the latest summary where not all fits, then the newest messages;
        no tool's answer without its call. ``strategy``: "stable" begins at a place that stays for many turns, so that
        a provider's prompt cache is of use; "newest" takes all that fits. ``counter``: by default an ``Estimator``.
        Raises ``UsageError`` where what must be there does not fit, and ``BranchNotFound``.

        Example::

            window = await conversation.window(max_tokens=8000)
            reply = await client.chat.completions.create(model=model, messages=window.to_openai())
        """
        return await self._database.run(self._window(max_tokens, strategy, counter))

    def window_sync(
        self, *, max_tokens: int, strategy: Strategy = "stable", counter: TokenCounter | None = None
    ) -> Window:
        """``window`` for sync code."""
        return self._database.run_sync(self._window(max_tokens, strategy, counter))

    async def pin(self, message_id: int) -> None:
        """Let a message of this line stand first in each window. Raises ``MessageNotFound``."""
        await self._database.run(self._work(changing.pin, message_id, True))

    def pin_sync(self, message_id: int) -> None:
        """``pin`` for sync code."""
        self._database.run_sync(self._work(changing.pin, message_id, True))

    async def unpin(self, message_id: int) -> None:
        """Let it stand where it was said. Raises ``MessageNotFound``."""
        await self._database.run(self._work(changing.pin, message_id, False))

    def unpin_sync(self, message_id: int) -> None:
        """``unpin`` for sync code."""
        self._database.run_sync(self._work(changing.pin, message_id, False))

    async def add_summary(self, text: str, *, upto: int, provenance: Provenance | None = None) -> Summary:
        """Keep a summary of this line from its beginning to message ``upto``; the first that ends there stays.

        Windows have it in the place of what does not fit. Raises ``MessageNotFound``.
        """
        return await self._database.run(self._summarise(text, upto, provenance))

    def add_summary_sync(self, text: str, *, upto: int, provenance: Provenance | None = None) -> Summary:
        """``add_summary`` for sync code."""
        return self._database.run_sync(self._summarise(text, upto, provenance))

    async def summaries(self) -> list[Summary]:
        """The summaries of this line, with those that it shares, the longest last."""
        return await self._database.run(self._work(summarising.of_line))

    def summaries_sync(self) -> list[Summary]:
        """``summaries`` for sync code."""
        return self._database.run_sync(self._work(summarising.of_line))

    async def branch(self, name: str, *, at: int | None = None) -> Conversation:
        """A line of its own after message ``at`` (by default the newest): shares what came before, changes no other.

        Again with the same beginning it is returned. Raises ``BranchExists`` and ``MessageNotFound``.
        """
        return await self._database.run(self._branch(name, at))

    def branch_sync(self, name: str, *, at: int | None = None) -> Conversation:
        """``branch`` for sync code."""
        return self._database.run_sync(self._branch(name, at))

    async def branches(self) -> list[Branch]:
        """All branches, ``main`` first. Raises ``ConversationNotFound``."""
        return await self._database.run(self._work(reading.branches))

    def branches_sync(self) -> list[Branch]:
        """``branches`` for sync code."""
        return self._database.run_sync(self._work(reading.branches))

    async def record(self) -> ConversationRecord:
        """Subject, title, tags, count and times. Raises ``ConversationNotFound``."""
        return await self._database.run(self._work(reading.record))

    def record_sync(self) -> ConversationRecord:
        """``record`` for sync code."""
        return self._database.run_sync(self._work(reading.record))

    async def set_title(self, title: str | None) -> None:
        """Name the conversation; None takes the name away."""
        await self._database.run(self._work(changing.set_title, text_of("title", title)))

    def set_title_sync(self, title: str | None) -> None:
        """``set_title`` for sync code."""
        self._database.run_sync(self._work(changing.set_title, text_of("title", title)))

    async def tag(self, *tags: str) -> None:
        """Add tags; those that it has stay."""
        await self._database.run(self._tag(tags, ()))

    def tag_sync(self, *tags: str) -> None:
        """``tag`` for sync code."""
        self._database.run_sync(self._tag(tags, ()))

    async def untag(self, *tags: str) -> None:
        """Take tags away; those that it lacks stay away."""
        await self._database.run(self._tag((), tags))

    def untag_sync(self, *tags: str) -> None:
        """``untag`` for sync code."""
        self._database.run_sync(self._tag((), tags))

    async def set_ttl(self, ttl_s: float | None) -> None:
        """Let it expire so many seconds after its last message, title or branch; None: as the default of ``expire``.

        It is deleted when ``memory.expire()`` is run.
        """
        await self._database.run(self._work(changing.set_ttl, ttl(ttl_s)))

    def set_ttl_sync(self, ttl_s: float | None) -> None:
        """``set_ttl`` for sync code."""
        self._database.run_sync(self._work(changing.set_ttl, ttl(ttl_s)))

    async def delete(self) -> bool:
        """Remove it with all its branches and keys; whether there was one. An append that is retried makes it anew.

        Raises ``SubjectHeld`` while a legal hold is on its subject.
        """
        return await self._database.run(self._work(changing.delete))

    def delete_sync(self) -> bool:
        """``delete`` for sync code."""
        return self._database.run_sync(self._work(changing.delete))

    def _work(self, function: Callable[..., T], *args: Any) -> Work[T]:
        return lambda tx: function(tx, self._place, self._subject, *args)

    def _append(
        self, message: Any, key: str | None, tokens: int | None, provenance: Provenance | None
    ) -> Work[Message]:
        if key is not None:
            name_of("key", key, KEY_BYTES)
        where = provenance or Provenance()
        for name in ("thread", "run", "node", "model"):
            text_of(f"provenance's {name}", getattr(where, name))
        return self._work(appending.append, Draft(read_message(message), key, tokens_of(tokens), where))

    def _messages(self, last: int | None, before: int | None, after: int | None) -> Work[list[Message]]:
        if last is not None and last < 0:
            raise UsageError(f"last={last} is no number of messages.", remedy="pass 0 or more, or None for all.")
        return functools.partial(
            reading.messages, place=self._place, subject=self._subject, last=last, before=before, after=after
        )

    def _window(self, max_tokens: int, strategy: Strategy, counter: TokenCounter | None) -> Work[Window]:
        windows.require(max_tokens, strategy)
        view = View(self._place, self._subject)
        return lambda tx: windows.window(tx, view, max_tokens, strategy, counter or Estimator())

    def _summarise(self, text: str, upto: int, provenance: Provenance | None) -> Work[Summary]:
        return self._work(changing.summarise, text_of("summary", text), upto, provenance or Provenance())

    def _branch(self, name: str, at: int | None) -> Work[Conversation]:
        place = Place(*self._place.scope, name_of("branch", name))

        def begin(tx: Tx) -> Conversation:
            changing.branch(tx, self._place, self._subject, name, at)
            return Conversation(self._database, place, self._subject)

        return begin

    def _tag(self, add: tuple[str, ...], remove: tuple[str, ...]) -> Work[None]:
        for name in (*add, *remove):
            name_of("tag", name)
        return self._work(changing.tag, add, remove)


def tokens_of(given: Any) -> int | None:
    """A number of tokens as it was given. Raises ``UsageError``."""
    if given is not None and (not isinstance(given, int) or given < 0):
        raise UsageError(f"{given!r} is no number of tokens.", remedy="pass a count, or None.")
    return given
