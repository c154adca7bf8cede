"""Terms: what counts as one word, in which scripts, and that nothing in a text is more than a word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertebra.memory.recall.ranking import Asked
from vertebra.memory.recall.snippets import snippet
from vertebra.memory.recall.terms import TERM_LETTERS, TERMS_BYTES, query_terms, terms_of, words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("He coughs, at night.", ["he", "cough", "at", "night"]),
        ("Bodies, buses' glasses; corpus", ["body", "buse", "glasse", "corpus"]),
        ("can't_stop", ["can", "t", "stop"]),
        ("Hüsten HÜSTEN Hu\u0308sten", ["husten"] * 3),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("\uff21\uff22\uff23 ½ \ufb01n", ["abc", "12", "fin"]),
        ("Ёлка ёлка", ["елка", "елка"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("東京都", ["東", "京", "都", "東京", "京都"]),
        ("GPT東京", ["gpt", "東", "京", "東京"]),
        ("ガ ｶﾞ", ["ガ", "ガ"]),
        ("서울", ["서", "울", "서울"]),
        ("ไทย", ["ไ", "ท", "ย", "ไท", "ทย"]),
        ("👍 !!! —", []),
    ],
)
def test_the_words_of_a_text(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


def test_a_question_asks_for_pairs_where_letters_are_not_spaced() -> None:
    assert query_terms("東京都 京 the the lungs") == ["東京", "京都", "京", "the", "lung"]
    assert len(query_terms(" ".join(map(str, range(1000))))) == 64


def test_a_text_is_indexed_from_its_beginning_within_what_every_database_takes() -> None:
    assert terms_of("x" * 5000) == ["x" * TERM_LETTERS]
    long = terms_of("é" + f" {'w' * 59}" * 10_000)
    assert long[0] == "e"
    assert len(" ".join(long).encode()) < TERMS_BYTES < len(" ".join(long).encode()) + 61


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_terms_that_are_only_letters_and_digits(text: str) -> None:
    for term in terms_of(text):
        assert term
        assert not set(term) & set("\"' :*()|&!<>^+-\\\0\n\t")
        assert not any(letter.isspace() for letter in term)
    assert set(query_terms(text)) <= set(terms_of(text))
    for word in words(text):
        assert 0 <= word.start < word.end <= len(text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.text(max_size=20))
def test_marks_are_within_their_snippet(text: str, query: str) -> None:
    asked = [Asked(term, 1, is_prefix=bool(number % 2)) for number, term in enumerate(query_terms(query))]
    found = snippet(text, asked, letters=40)
    assert len(found.text) <= 42
    ends = 0
    for start, end in found.marks:
        assert ends <= start < end <= len(found.text)
        ends = end


def test_a_snippet_shows_where_most_of_the_words_are() -> None:
    text = "cough " + "filler " * 100 + "he coughs\nall night long " + "filler " * 100
    found = snippet(text, [Asked("cough", 2), Asked("night", 1)], letters=60)
    assert found.text.startswith("…")
    assert found.text.endswith("…")
    assert [found.text[start:end] for start, end in found.marks] == ["coughs", "night"]
    assert snippet("short", []).text == "short"


def test_of_unspaced_writing_only_the_pairs_are_marked() -> None:
    found = snippet("私は東京都に住んでいます。東京。", [Asked("東京", 1)])
    assert [found.text[start:end] for start, end in found.marks] == ["東京", "東京"]
