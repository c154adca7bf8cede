"""The declared policy for a failure: whether to try again, how long to wait, whether to ask anew.

Pure: it takes exceptions and numbers, and returns decisions. The wait before attempt ``n + 1`` is
``min(wait_max_s, wait_initial_s * base ** (n - 1)) + U(0, jitter_s)``, exponential backoff with
added jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from random import Random

from vertebra.errors import (
    InvalidUpdate,
    NodeTimeout,
    StreamTruncated,
    UsageError,
    VertebraError,
)

Exceptions = type[BaseException] | tuple[type[BaseException], ...]

NEVER: Exceptions = (TypeError, NameError, AttributeError, ImportError, AssertionError, SyntaxError, MemoryError)
"""Mistakes in code: another try meets the same mistake."""

TRANSIENT: Exceptions = (ConnectionError, TimeoutError, NodeTimeout, StreamTruncated)
"""A truncated stream is here since its beginning was already handed out: only the node can ask again."""

BECAUSE_OF_AN_ANSWER: Exceptions = (json.JSONDecodeError, InvalidUpdate)
"""Raised by what a model said; names of others are in ``_ANSWER_ERROR_NAMES`` to keep imports light."""

_ANSWER_ERROR_NAMES = frozenset(
    {
        ("pydantic_core", "ValidationError"),
        ("openai", "LengthFinishReasonError"),
        ("openai", "ContentFilterFinishReasonError"),
        ("openai", "APIResponseValidationError"),
        ("langchain_core", "OutputParserException"),
    }
)


class Verdict(Enum):
    """What to do with a failure."""

    STOP = "stop"
    AGAIN = "again"
    """Execute again; recorded answers are reused."""
    FRESH = "fresh"
    """Execute again and sample the answer that caused the failure anew."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a node, and each of its requests, is tried again.

    The same numbers serve two loops. The door resends a request after 408, 409, 429, 5xx, a lost
    connection or a silent provider, at most ``attempts`` times, and waits what Retry-After says (at
    most ``retry_after_max_s``). The node is executed again after an exception of ``on`` (default:
    connection errors and timeouts) or of ``fresh``; never after one of ``never`` or after a request
    that the door gave up on.

    ``fresh``: exceptions that a model's answer caused. The node asks anew, under a new sampling
    epoch; otherwise it would be fed the same recorded answer for ever. Default: failed validation,
    invalid JSON, an answer cut by its length limit.

    Example::

        @llm(task="draft", retry=Retry(attempts=4, fresh=(EmptyReport,)))
    """

    attempts: int = 3
    wait_initial_s: float = 0.5
    wait_max_s: float = 30.0
    base: float = 2.0
    jitter_s: float = 0.5
    retry_after_max_s: float = 120.0
    on: Exceptions = ()
    never: Exceptions = ()
    fresh: Exceptions = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise UsageError(
                f"Retry(attempts={self.attempts}): the first try counts too.", remedy="give 1 for no second try."
            )
        if min(self.wait_initial_s, self.wait_max_s, self.jitter_s, self.retry_after_max_s) < 0 or self.base < 1:
            raise UsageError(
                "Retry: a wait is negative or base is below 1.", remedy="give seconds from 0, base from 1."
            )
        for name in ("on", "never", "fresh"):
            given = getattr(self, name)
            kinds = given if isinstance(given, tuple) else (given,)
            if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
                raise UsageError(
                    f"Retry({name}={given!r}) must be exception classes.", remedy=f"write {name}=(ValueError,)."
                )

    def wait_s(self, attempt: int, random: Random) -> float:
        """Seconds to wait after failed attempt ``attempt`` (from 1)."""
        try:
            backoff_s = self.wait_initial_s * self.base ** (attempt - 1)
        except OverflowError:
            backoff_s = self.wait_max_s
        return min(self.wait_max_s, backoff_s) + random.uniform(0, self.jitter_s)

    def verdict(self, error: BaseException, attempt: int) -> Verdict:
        """What to do after ``error`` on attempt ``attempt`` (from 1)."""
        if attempt >= self.attempts or not isinstance(error, Exception):
            return Verdict.STOP
        if isinstance(error, self.never):
            return Verdict.STOP
        if isinstance(error, self.fresh):
            return Verdict.FRESH
        if isinstance(error, self.on):
            return Verdict.AGAIN
        if isinstance(error, NEVER):
            return Verdict.STOP
        if because_of_an_answer(error):
            return Verdict.FRESH
        cause = typed_cause(error) or error
        if isinstance(cause, TRANSIENT):
            return Verdict.AGAIN
        return Verdict.STOP

    def resend_after_s(
        self, status: int | None, retry_after_s: float | None, attempt: int, random: Random
    ) -> float | None:
        """Seconds until a request is sent again, or None if it is not.

        ``status`` is None for a lost connection or a silent provider (RFC 9110 names 408, 429 and
        503 as worth another try; 409 is a lock timeout at OpenAI).
        """
        if attempt >= self.attempts:
            return None
        if status is not None and status not in (408, 409, 429) and status < 500:
            return None
        if retry_after_s is not None:
            return retry_after_s if 0 <= retry_after_s <= self.retry_after_max_s else None
        return self.wait_s(attempt, random)


ONCE = Retry(attempts=1)
"""No second try: the default of everything but ``@llm``."""


def because_of_an_answer(error: BaseException) -> bool:
    """Whether this exception says that an answer was bad, rather than that a call failed."""
    if isinstance(error, BECAUSE_OF_AN_ANSWER):
        return True
    return any((kind.__module__.split(".", 1)[0], kind.__name__) in _ANSWER_ERROR_NAMES for kind in type(error).__mro__)


def typed_cause(error: BaseException) -> VertebraError | None:
    """The error of ours that a client wrapped into one of its own, if any."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, VertebraError):
            return current
        seen.add(id(current))
        hidden = current.__suppress_context__  # `raise ... from None`: the author says it is another matter
        current = current.__cause__ if hidden else current.__context__
    return None
