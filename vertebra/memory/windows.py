"""The part of a conversation that fits into a model: what stands first, a summary, and the newest messages.

Where it begins does not move with each message, or a provider's prompt cache would never find its beginning again:
of all places where between half of the room and all of it would be filled, it begins at the one that a hash of its
number ranks highest. Of n places that slide along, the highest changes twice in n steps, and nothing need be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vertebra.databases.database import Tx
from vertebra.errors import UsageError
from vertebra.memory import reading, summarising
from vertebra.memory.counting import TokenCounter
from vertebra.memory.messages import canonical
from vertebra.memory.place import Place
from vertebra.memory.records import Message
from vertebra.memory.summarising import Summary

Strategy = Literal["stable", "newest"]
PAGE = 64
_FIRST = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a window was made of, so that it can be made again: ids of messages, in their order.

    ``own``: which of those that its node had appended followed, and had no id yet. ``summary``: its branch, and
    the first and last id that it covers. ``complete``: whether nothing before was left out that no summary covers.
    ``tokens``: as they were counted. ``hash``: of what ``to_openai`` gave.
    """

    conversation: str
    branch: str
    messages: tuple[int, ...]
    own: tuple[int, ...]
    summary: tuple[str, int, int] | None
    complete: bool
    tokens: int
    max_tokens: int
    hash: str


@dataclass(frozen=True, slots=True)
class Window:
    """Messages for a model: ``first`` (system and pinned ones), a summary if there is one, ``rest`` (newest last)."""

    first: tuple[Message, ...]
    summary: Summary | None
    rest: tuple[Message, ...]
    manifest: Manifest

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, without the summary."""
        return self.first + self.rest

    @property
    def tokens(self) -> int:
        """As they were counted."""
        return self.manifest.tokens

    def to_openai(self) -> list[dict[str, Any]]:
        """What ``messages=[...]`` of the API takes."""
        return _openai(self.first, self.summary, self.rest)


@dataclass(frozen=True, slots=True)
class View:
    """A line as it is seen: up to message ``upto`` (None: all), then ``own``, which were not delivered yet."""

    place: Place
    subject: str | None = None
    upto: int | None = None
    own: tuple[Message, ...] = ()
    own_summary: Summary | None = None

    @property
    def before(self) -> int | None:
        return None if self.upto is None else self.upto + 1


def require(max_tokens: Any, strategy: Any) -> None:
    """Raise ``UsageError`` for what is no window."""
    if not isinstance(max_tokens, int) or max_tokens < 1:
        raise UsageError(f"max_tokens={max_tokens!r} is no room for messages.", remedy="pass a number of tokens.")
    if strategy not in ("stable", "newest"):
        raise UsageError(f"{strategy!r} is no strategy.", remedy="pass 'stable' or 'newest'.")


def window(tx: Tx, view: View, max_tokens: int, strategy: Strategy, count: TokenCounter) -> Window:
    """The window of a line. Raises ``UsageError`` where what must be in it does not fit."""
    first = [*_leading(tx, view), *(m for m in view.own if _leads(m))]
    room = max_tokens - sum(tokens(message, count) for message in first)
    summary = view.own_summary or _latest(tx, view)
    taken = 0 if summary is None else count(summary.chat)
    tail = _tail(tx, view, room, count)
    if tail.whole:
        return _made(view, first, None, tail.messages, True, max_tokens, count)
    start = tail.start(room - taken, strategy, 0 if summary is None else summary.upto)
    if start is None:
        raise UsageError(
            f"{max_tokens} tokens do not hold the newest message of conversation {view.place.id!r} with what stands "
            "before all others.",
            remedy="give max_tokens= more room, or pin less.",
        )
    rest = tail.messages[start:]
    after = 0 if summary is None else summary.upto
    complete = not _page(tx, view, 1, rest[0].id or view.before, after)
    return _made(view, first, summary, rest, complete, max_tokens, count)


def again(tx: Tx, view: View, manifest: Manifest) -> Window:
    """The window of a manifest, without what was deleted since."""
    found = {m.id: m for m in reading.by_ids(tx, view.place, view.subject, manifest.messages)}
    there = [found[id] for id in manifest.messages if id in found]
    own = [view.own[number] for number in manifest.own if number < len(view.own)]
    summary = None
    if manifest.summary is not None:
        branch, first, last = manifest.summary
        mine = view.own_summary
        is_mine = mine is not None and (mine.branch, mine.first, mine.upto) == (branch, first, last)
        summary = mine if is_mine else summarising.ending(tx, Place(*view.place.scope, branch), last)
    messages = [*there, *own]
    return Window(
        tuple(m for m in messages if _leads(m)), summary, tuple(m for m in messages if not _leads(m)), manifest
    )


@dataclass(frozen=True, slots=True)
class _Tail:
    messages: list[Message]
    sizes: list[int]
    """Tokens of each message with all that follow it."""
    numbers: list[int]
    whole: bool

    def start(self, room: int, strategy: Strategy, upto: int) -> int | None:
        """Where a window of ``room`` tokens begins. A tool's answer is not parted from the call that it answers."""
        fits = [i for i, m in enumerate(self.messages) if self.sizes[i] <= room and m.role != "tool"]
        if not fits:
            return None
        following = [i for i in fits if self.numbers[i] > upto]
        if upto and following and (following[0] == 0 or self.numbers[following[0] - 1] <= upto):
            return following[0]  # all that the summary does not cover
        if strategy == "newest":
            return fits[0]
        full = [i for i in fits if self.sizes[i] * 2 >= room] or fits[:1]
        asked = [i for i in full if self.messages[i].role == "user"] or full
        return max(asked, key=lambda i: _rank(self.numbers[i]))


def _tail(tx: Tx, view: View, room: int, count: TokenCounter) -> _Tail:
    """The newest messages, as many as fill the room and one more page at most."""
    messages = [m for m in view.own if not _leads(m)]
    total, before, whole = sum(tokens(m, count) for m in messages), view.before, False
    while total <= room and not whole:
        page = _page(tx, view, PAGE, before, 0)
        whole = len(page) < PAGE
        messages[:0] = page
        total += sum(tokens(m, count) for m in page)
        before = page[0].id if page else before
    sizes, size = [0] * len(messages), 0
    for i in range(len(messages) - 1, -1, -1):
        sizes[i] = size = size + tokens(messages[i], count)
    newest = max((m.id for m in messages), default=0) if view.upto is None else view.upto
    numbers, unnamed = [], newest
    for message in messages:
        unnamed += not message.id
        numbers.append(message.id or unnamed)
    return _Tail(messages, sizes, numbers, whole and total <= room)


def _leading(tx: Tx, view: View) -> list[Message]:
    return [] if view.upto == 0 else reading.leading(tx, view.place, view.subject, view.before)


def _latest(tx: Tx, view: View) -> Summary | None:
    return None if view.upto == 0 else summarising.latest(tx, view.place, view.before)


def _page(tx: Tx, view: View, last: int, before: int | None, after: int) -> list[Message]:
    if view.upto == 0:  # the branch of a fork may not have begun
        return []
    return reading.messages(tx, view.place, view.subject, last=last, before=before, after=after or None, talk_only=True)


def _made(
    view: View,
    first: Sequence[Message],
    summary: Summary | None,
    rest: Sequence[Message],
    complete: bool,
    max_tokens: int,
    count: TokenCounter,
) -> Window:
    messages = [*first, *rest]
    size = sum(tokens(m, count) for m in messages) + (0 if summary is None else count(summary.chat))
    data = canonical(_openai(first, summary, rest))
    return Window(
        tuple(first),
        summary,
        tuple(rest),
        Manifest(
            view.place.id,
            view.place.branch,
            tuple(m.id for m in messages if m.id),
            tuple(number for number, m in enumerate(view.own) if any(m is other for other in messages)),
            None if summary is None else (summary.branch, summary.first, summary.upto),
            complete,
            size,
            max_tokens,
            hashlib.sha256(data.encode()).hexdigest()[:32],
        ),
    )


def _openai(first: Sequence[Message], summary: Summary | None, rest: Sequence[Message]) -> list[dict[str, Any]]:
    between = [] if summary is None else [summary.chat.to_openai()]
    return [*(m.to_openai() for m in first), *between, *(m.to_openai() for m in rest)]


def _leads(message: Message) -> bool:
    return message.pinned or message.role in _FIRST


def tokens(message: Message, count: TokenCounter) -> int:
    """As it was counted when it was appended; else as it is counted now."""
    return count(message.chat) if message.tokens is None else message.tokens


def _rank(number: int) -> int:
    """Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4): neighbours lie far apart."""
    return number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
