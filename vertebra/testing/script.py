"""The script of a model: rules that match requests and say what to answer, or how to fail. Pure."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vertebra.testing.echo import echo
from vertebra.testing.exchange import Answered, Asked

Matcher = str | re.Pattern[str] | Callable[[Asked], bool]


@dataclass(slots=True)
class _Step:
    answer: Answered
    times: int | None
    """None: always for a fault; for an answer, for as long as no later step follows."""
    used: int = 0


@dataclass
class Rule:
    """What to do with the requests that match: steps, used in the order in which they were added.

    A fault is used ``times`` times (None: always). An answer is given once when another step follows it
    and stays when it is the last. When all is used up, the request falls through to the next rule.
    """

    matcher: Matcher
    _steps: list[_Step] = field(default_factory=list)
    _delay_s: float = 0.0

    def matches(self, asked: Asked) -> bool:
        if isinstance(self.matcher, str):
            return self.matcher in asked.prompt
        if isinstance(self.matcher, re.Pattern):
            return self.matcher.search(asked.prompt) is not None
        return self.matcher(asked)

    def _then(self, answer: Answered, times: int | None) -> Rule:
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None for always; it is {times}.")
        self._steps.append(_Step(answer, times))
        return self

    def reply(self, *texts: str, times: int | None = None) -> Rule:
        """Answer with these texts in turn. The last one stays, or is used ``times`` times."""
        if not texts:
            raise ValueError("reply() needs a text.")
        for text in texts[:-1]:
            self._then(Answered(text), 1)
        return self._then(Answered(texts[-1]), times)

    def reply_json(self, value: Any, *, times: int | None = None) -> Rule:
        """Answer with this value as JSON. The answer stays, or is used ``times`` times."""
        return self._then(Answered(json.dumps(value)), times)

    def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None, *, times: int | None = 1) -> Rule:
        """Answer with a call of this tool. Once by default: the answer to its result comes after it."""
        return self._then(Answered(tool_calls=((name, dict(arguments or {})),)), times)

    def call_tools(self, *calls: tuple[str, Mapping[str, Any]], times: int | None = 1) -> Rule:
        """Answer with several calls at once, as ``("name", {arguments})`` each."""
        return self._then(Answered(tool_calls=tuple((name, dict(given)) for name, given in calls)), times)

    def fail(self, status: int = 500, *, retry_after_s: float | None = None, times: int | None = 1) -> Rule:
        """Answer with an error status, and Retry-After in seconds if given."""
        return self._then(Answered(fault="status", status=status, retry_after_s=retry_after_s), times)

    def hang(self, *, times: int | None = 1) -> Rule:
        """Never answer, until the caller or the model closes the connection."""
        return self._then(Answered(fault="hang"), times)

    def cut(self, *, after_chunks: int = 1, times: int | None = 1) -> Rule:
        """Cut the connection after so many events of a stream, or in the middle of a body. It is paid."""
        return self._then(Answered(fault="cut", after_chunks=after_chunks), times)

    def bad_json(self, *, times: int | None = 1) -> Rule:
        """Answer 200 with a body that is well framed but half of its JSON. It is paid."""
        return self._then(Answered(fault="bad_json"), times)

    def too_large(self, size_bytes: int, *, times: int | None = 1) -> Rule:
        """Answer with a text of this many bytes."""
        return self._then(Answered(fault="too_large", size_bytes=size_bytes), times)

    def delay(self, seconds: float) -> Rule:
        """Let each answer of this rule take this long; a rule of nothing else delays what later rules say."""
        self._delay_s = seconds
        return self

    def _next(self) -> _Step | None:
        for position, step in enumerate(self._steps):
            is_last = position == len(self._steps) - 1
            always = step.times is None and (is_last or step.answer.fault is not None)
            if always or step.used < (step.times or 1):
                step.used += 1
                return step
        return None


class Script:
    """Rules in order. A request that none answers is echoed: a text that depends on all of the request.

    Safe to use from many threads.

    Example::

        script = Script()
        script.on("weather").fail(429, times=2).reply("sunny", "rainy")
    """

    def __init__(self, *, sampled: bool = False) -> None:
        self._rules: list[Rule] = []
        self._sampled = sampled
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def on(self, matcher: Matcher = "") -> Rule:
        """A rule for prompts that contain a text, match a pattern, or for requests that satisfy a function."""
        rule = Rule(matcher)
        with self._lock:
            self._rules.append(rule)
        return rule

    def answer(self, asked: Asked) -> Answered:
        """What to answer now; uses up a step."""
        with self._lock:
            step, delay_s = self._consult(asked)
            is_paid = step is None or step.answer.is_paid
            number = next(self._numbers) if self._sampled and is_paid else None
        if step is None:
            said = echo(asked, number)
        elif step.answer.fault in ("cut", "bad_json"):
            # These fail in the delivery; what the model had to say is the echo.
            heard = echo(asked, number)
            said = replace(step.answer, text=heard.text, tool_calls=heard.tool_calls, number=number)
        else:
            said = replace(step.answer, number=number)
        return replace(said, delay_s=delay_s)

    def _consult(self, asked: Asked) -> tuple[_Step | None, float]:
        delay_s = 0.0
        for rule in self._rules:
            if not rule.matches(asked):
                continue
            step = rule._next()
            if step is not None or not rule._steps:
                delay_s += rule._delay_s
            if step is not None:
                return step, delay_s
        return None, delay_s
