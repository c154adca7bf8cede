"""Tables, cut lines and the gist of calls: the pure parts of what the command prints."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertebra.cli import gist
from vertebra.cli.terminal import Terminal, ago, clean, clock, fit, narrowed

WORDS = st.text(max_size=30)
ROWS = st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=6)


@given(ROWS, st.integers(12, 120))
def test_a_table_fits_and_steers_nothing(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = Terminal(width=width).table(("ONE", "TWO", "THREE"), rows)
    assert len(lines) == len(rows) + 1
    assert [clean(line) for line in lines] == lines
    assert max(map(len, lines)) <= width


@given(ROWS)
def test_a_table_for_a_pipe_cuts_nothing(rows: list[tuple[str, str, str]]) -> None:
    lines = Terminal().table(("ONE", "TWO", "THREE"), rows)
    for row, line in zip(rows, lines[1:], strict=True):
        assert all(" ".join(clean(cell).split()) in line for cell in row)


def test_columns_are_aligned() -> None:
    plain = ["A         B", "long one  1", "x         2"]
    assert Terminal().table(("A", "B"), [("long one", "1"), ("x", "2")]) == plain
    assert Terminal(width=10).table(("A", "B"), [("long one", "1")]) == ["A        B", "long o…  1"]


def test_the_widest_gives_way() -> None:
    assert narrowed([20, 5, 10], 30) == [15, 5, 10]
    assert narrowed([20, 20], 8) == [4, 4]
    assert narrowed([3, 4], 80) == [3, 4]


def test_colour_is_around_the_text_and_not_in_its_width() -> None:
    lines = Terminal(colour=True, width=30).table(("S", "T"), [("done", "x"), ("failed", "y")])
    assert lines[1] == "\x1b[32mdone  \x1b[0m  x"
    assert lines[2] == "\x1b[31mfailed\x1b[0m  y"
    assert Terminal().paint("x", "red") == "x"


def test_lines_are_cut_or_wrapped() -> None:
    assert Terminal(width=9).line("a\n b\tc   d e f", 2) == "  a b c …"
    assert Terminal(width=12).wrapped("one two three\n\nfour", 2) == ["  one two", "  three", "  ", "  four"]
    assert Terminal().wrapped("one\ntwo", 1) == [" one", " two"]
    assert (fit("abc", None), fit("abc", 3), fit("abc", 2), fit("abc", 0)) == ("abc", "abc", "a…", "…")


def test_control_characters_are_shown() -> None:
    assert clean("a\x1b[31mb\x07\x9bc\td\ne\r") == "a\\x1b[31mb\\x07\\x9bc\td\ne\\x0d"


def test_times() -> None:
    assert clock(0) == "1970-01-01 00:00:00Z"
    assert [ago(s) for s in (-1, 0, 59, 60, 7200, 200_000)] == [
        *("0 s ago", "0 s ago", "59 s ago", "1 min ago", "2 h ago", "2 d ago"),
    ]


def message(content: Any, **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content, **more}}]}).encode()


@pytest.mark.parametrize(
    ("request_text", "said"),
    [
        ('{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}', "b"),
        ('{"messages": [{"content": [{"type": "text", "text": "see"}, {"type": "image_url"}]}]}', "see image_url"),
        ('{"input": "hello"}', "hello"),
        ('{"input": ["one", "two"]}', "one two"),
        ('{"input": [{"role": "user", "content": "c"}]}', "c"),
        ('{"prompt": "p"}', "p"),
        ('{"state": 1}', '{"state": 1}'),
        ("[1, 2]", "[1, 2]"),
        ("no json", "no json"),
        ('{"messages": []}', '{"messages": []}'),
    ],
)
def test_the_gist_of_a_request(request_text: str, said: str) -> None:
    assert gist.asked(request_text) == said


def test_no_request_has_no_gist() -> None:
    assert gist.asked(None) == ""


CHAT_STREAM = b"""data: {"choices": [{"delta": {"content": "Hel"}}]}

data: {"choices": [{"delta": {"content": "lo"}}]}

data: {"choices": []}

data: [DONE]
"""
TOOL_STREAM = b"""data: {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": "{\\"a\\""}}]}}]}

data: {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": ": 1}"}}]}}]}
"""
RESPONSES_STREAM = b"""event: response.output_text.delta
data: {"type": "response.output_text.delta", "delta": "Hi"}

event: response.completed
data: {"type": "response.completed", "response": {}}
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (message("hello"), "hello"),
        (message(None, tool_calls=[{"function": {"name": "look", "arguments": "{}"}}]), "look({})"),
        (CHAT_STREAM, "Hello"),
        (TOOL_STREAM, 'f{"a": 1}'),
        (RESPONSES_STREAM, "Hi"),
        (b'{"output": [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]}', "yes"),
        (b'{"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}', "f({})"),
        (b'{"data": [{"embedding": [1, 2, 3]}]}', "1 embedding of 3"),
        (b'{"text": "spoken"}', "spoken"),
        (b'{"sent": true}', '{"sent": true}'),
        (b"[1]", "[1]"),
        (b"\xff", "\ufffd"),
        (b"", ""),
        (message(""), message("").decode()),
    ],
)
def test_the_gist_of_an_answer(body: bytes, said: str) -> None:
    assert gist.answered(body) == said


@given(st.binary(max_size=200))
def test_every_answer_has_a_gist(body: bytes) -> None:
    assert isinstance(gist.answered(body), str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "output", "data", "messages"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_every_json_has_a_gist(data: Any) -> None:
    text = json.dumps(data)
    for answer in (text, f"data: {text}\n"):
        assert isinstance(gist.answered(answer.encode()), str)
    assert isinstance(gist.asked(text), str)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}, '{"ok": boolean}'),
        ({"type": "object", "properties": {"why": {"type": "string"}}}, '{"why": string?}'),
        ({"type": "array", "items": {"type": "integer"}}, "[integer, ...]"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"enum": ["a", 1]}, '"a" or 1'),
        ({"$ref": "#/$defs/Place"}, "Place"),
        ({}, "anything"),
        (None, "anything"),
    ],
)
def test_the_gist_of_a_schema(schema: Any, said: str) -> None:
    assert gist.schema(schema) == said
