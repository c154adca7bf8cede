"""The script of a model: rules that match requests and say what to answer, or how to fail. Pure."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Matcher = str | re.Pattern[str] | Callable[["Asked"], bool]
Fault = Literal["status", "hang", "cut", "bad_json", "too_large"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as rules see it. ``prompt`` is the text of the last user message or input."""

    path: str
    body: Mapping[str, Any]
    prompt: str

    @property
    def digest(self) -> str:
        """Of the canonical JSON of the request."""
        text = json.dumps(self.body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{self.path}\n{text}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Answered:
    """What to answer: a text, tool calls, or a fault; after a delay in seconds."""

    text: str = ""
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    fault: Fault | None = None
    status: int = 200
    retry_after_s: float | None = None
    after_chunks: int = 1
    size_bytes: int = 0
    delay_s: float = 0.0


@dataclass
class Rule:
    """What to do with the requests that match. Each method adds a step; steps are used up in order.

    A ``reply`` at the end stays; faults are used ``times`` times.
    """

    matcher: Matcher
    _steps: list[list[Any]] = field(default_factory=list)
    _delay_s: float = 0.0

    def matches(self, asked: Asked) -> bool:
        if isinstance(self.matcher, str):
            return self.matcher in asked.prompt
        if isinstance(self.matcher, re.Pattern):
            return self.matcher.search(asked.prompt) is not None
        return self.matcher(asked)

    def _then(self, answer: Answered, times: int | None) -> Rule:
        self._steps.append([answer, times])
        return self

    def reply(self, *texts: str) -> Rule:
        """Answer with these texts in turn; the last one stays."""
        for text in texts[:-1]:
            self._then(Answered(text), 1)
        return self._then(Answered(texts[-1]), None)

    def reply_json(self, value: Any) -> Rule:
        """Answer with this value as JSON."""
        return self.reply(json.dumps(value))

    def call_tool(self, name: str, arguments: Mapping[str, Any], *, times: int | None = 1) -> Rule:
        """Answer with a tool call."""
        return self._then(Answered(tool_calls=((name, arguments),)), times)

    def fail(self, status: int = 500, *, retry_after_s: float | None = None, times: int | None = 1) -> Rule:
        """Answer with an error status."""
        return self._then(Answered(fault="status", status=status, retry_after_s=retry_after_s), times)

    def hang(self, *, times: int | None = 1) -> Rule:
        """Never answer."""
        return self._then(Answered(fault="hang"), times)

    def cut(self, *, after_chunks: int = 1, times: int | None = 1) -> Rule:
        """Close the connection in the middle of the answer."""
        return self._then(Answered(fault="cut", after_chunks=after_chunks), times)

    def bad_json(self, *, times: int | None = 1) -> Rule:
        """Answer 200 with a JSON body that ends early, well framed."""
        return self._then(Answered(fault="bad_json"), times)

    def too_large(self, size_bytes: int, *, times: int | None = 1) -> Rule:
        """Answer with a text of this many bytes."""
        return self._then(Answered(fault="too_large", size_bytes=size_bytes), times)

    def delay(self, seconds: float) -> Rule:
        """Let every answer of this rule take this long."""
        self._delay_s = seconds
        return self

    def next(self) -> tuple[Answered | None, float]:
        """The next step, used up by this call; None when none is left."""
        for step in self._steps:
            answer, left = step
            if left is None:
                return answer, self._delay_s
            if left > 0:
                step[1] = left - 1
                return answer, self._delay_s
        return None, self._delay_s


class Script:
    """Rules in order. A request that none answers is echoed: a text that depends on all of the request."""

    def __init__(self, *, sampled: bool = False) -> None:
        self._rules: list[Rule] = []
        self._sampled = sampled
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def on(self, matcher: Matcher = "") -> Rule:
        """A rule for prompts that contain a text, match a pattern, or satisfy a function."""
        rule = Rule(matcher)
        self._rules.append(rule)
        return rule

    def answer(self, asked: Asked) -> Answered:
        """What to answer now."""
        from dataclasses import replace

        with self._lock:
            delay_s = 0.0
            for rule in self._rules:
                if not rule.matches(asked):
                    continue
                step, delay = rule.next()
                delay_s = max(delay_s, delay)
                if step is not None:
                    return replace(step, delay_s=delay_s)
            text = f"answer to: {asked.prompt} [{asked.digest[:8]}]"
            if self._sampled:
                text += f" #{next(self._numbers)}"
            return Answered(text, delay_s=delay_s)
