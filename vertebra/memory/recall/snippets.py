"""Snippets: the part of a text that answers a question, with the words that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vertebra.memory.recall.ranking import Asked
from vertebra.memory.recall.terms import Word, words

SNIPPET_LETTERS = 200
SCANNED_LETTERS = 100_000
ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a text on one line. ``marks``: from where to where in ``text`` the words stand that were asked for."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return self.text


def snippet(text: str, asked: Sequence[Asked], letters: int = SNIPPET_LETTERS) -> Snippet:
    """The part of at most ``letters`` letters with the most different words that were asked for; else the beginning."""
    line = " ".join(text[:SCANNED_LETTERS].split())
    found = [mark for word in words(line) for mark in _found(word, asked)]
    begin = min(_best(found, letters), len(line) - letters) if len(line) > letters else 0
    end = min(len(line), begin + letters)
    head, tail = ELLIPSIS if begin else "", ELLIPSIS if end < len(line) or len(text) > SCANNED_LETTERS else ""
    shift = len(head) - begin
    inside = sorted((start, stop) for start, stop, _ in found if start >= begin and stop <= end)
    return Snippet(f"{head}{line[begin:end]}{tail}", tuple((s + shift, e + shift) for s, e in _joined(inside)))


def _found(word: Word, asked: Sequence[Asked]) -> Iterator[tuple[int, int, str]]:
    """From where to where of the text, and which term of the question; in unspaced writing only its own letters."""
    letters = (len(word.terms) + 1) // 2
    exact = len(word.terms) > 1 and letters == word.end - word.start
    for number, term in enumerate(word.terms):
        for one in asked:
            if term == one.term or (one.is_prefix and term.startswith(one.term)):
                start = word.start + number % letters if exact else word.start
                yield start, start + len(term) if exact else word.end, one.term


def _best(found: Sequence[tuple[int, int, str]], letters: int) -> int:
    """Where a window begins that holds the most different terms, the first of them a little after its beginning."""
    best, most = 0, 0
    for number, (start, _, _) in enumerate(found):
        terms = set()
        for _, end, term in found[number:]:
            if end > start + letters * 3 // 4:
                break
            terms.add(term)
        if len(terms) > most:
            best, most = start, len(terms)
    return max(0, best - letters // 4)


def _joined(marks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in marks:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
