"""What a ``@human`` node asks: a text, data beside it, a deadline and a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a person.

    ``data`` is shown beside the text (anything that pydantic can turn into JSON). ``deadline_s``
    counts from the first time the question is asked; when it passes, ``recover()`` answers with
    ``default``, or reports ``QuestionExpired`` when there is none: then the thread waits on.
    """

    text: str
    data: Any = None
    deadline_s: float | None = None
    default: Any = None
