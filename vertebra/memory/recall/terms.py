"""Terms: the words by which a text is found, the same for what is kept and for what is asked.

A word is folded (case, accents, widths), an English plural loses its ending by the S-stemmer (Harman, "How effective
is suffixing?", 1991), and what is written without spaces (Chinese, Japanese, Korean, Thai and their neighbours)
becomes its letters and its pairs of letters. So no database's own tokenizer decides what is found, and a text that is
asked for is never read as a database's query language.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

TERM_LETTERS = 64
"""A longer word is cut: Postgres refuses a term of more than 2,046 bytes."""

TERMS_BYTES = 400_000
"""Of a text whose terms have more, the beginning is indexed: Postgres refuses a vector of terms over 1 MB."""

QUERY_LETTERS = 10_000
QUERY_TERMS = 64

# Letters, digits, and the marks that stand on letters, which Python does not count among them.
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0903\u093a-\u094f"
)
_MARKS += "\u0951-\u0957\u0962\u0963\u0981-\u0983\u09bc-\u0dff\u3099\u309a"
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
_UNSPACED += "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_WORD = re.compile(rf"(?:[^\W_]|[{_MARKS}{_UNSPACED}])+")
_RUN = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_ASCII_WORD = re.compile("[a-z0-9]+")
_LATIN_MARKS = re.compile("[\u0300-\u036f]+")


@dataclass(frozen=True, slots=True)
class Word:
    """A part of a text, from ``start`` to ``end``, that is found by any of its terms."""

    start: int
    end: int
    terms: tuple[str, ...]


def terms_of(text: str) -> list[str]:
    """The terms by which a text is found, in their order, each as often as it is there."""
    if text.isascii():
        terms = [stem(word[:TERM_LETTERS]) for word in _ASCII_WORD.findall(text.lower())]
        if len(text) < TERMS_BYTES:
            return terms
    else:
        terms = [term for word in words(text) for term in word.terms]
    found, size = [], 0
    for term in terms:
        size += len(term.encode()) + 1
        if size > TERMS_BYTES:
            break
        found.append(term)
    return found


def query_terms(text: str) -> list[str]:
    """The different terms that a question asks for: of unspaced writing the pairs, and a letter that stands alone."""
    found: dict[str, None] = {}
    for word in words(text[:QUERY_LETTERS]):
        pairs = [term for term in word.terms if len(term) > 1]
        for term in pairs if len(word.terms) > 1 and pairs else word.terms:
            found.setdefault(term)
            if len(found) == QUERY_TERMS:
                return list(found)
    return list(found)


def words(text: str) -> Iterator[Word]:
    """The words of a text with their places; a run of unspaced writing is one."""
    for match in _WORD.finditer(text):
        for run in _RUN.finditer(match[0]):
            folded = fold(run[0])
            if not folded:
                continue
            start = match.start() + run.start()
            if _UNSPACED_LETTER.match(run[0]):
                yield Word(start, start + len(run[0]), (*folded, *map("".join, itertools.pairwise(folded))))
            else:
                yield Word(start, start + len(run[0]), (stem(folded[:TERM_LETTERS]),))


@functools.lru_cache(20_000)
def fold(word: str) -> str:
    """One spelling: compatibility forms composed, case folded, the accents of European scripts left out."""
    if word.isascii():
        return word.lower()
    plain = _LATIN_MARKS.sub("", unicodedata.normalize("NFKD", word))
    folded = unicodedata.normalize("NFC", plain).casefold()
    # A compatibility form may unfold into several words (a fraction): what is no letter would split the term.
    return "".join(_WORD.findall(folded))


def stem(word: str) -> str:
    """An English plural's singular, as the S-stemmer has it; other words as they are."""
    if len(word) < 4 or not word.endswith("s") or not word.isascii():
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else f"{word[:-3]}y"
    if word.endswith("es"):
        return word if word.endswith(("aes", "ees", "oes")) else word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]
