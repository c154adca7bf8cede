"""What makes two requests the same, and what an answer says about itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertebra.runtime.answers import StreamWatch, retry_after_s, usage_of
from vertebra.runtime.drift import request_difference
from vertebra.runtime.requests import KEPT_REQUEST_BYTES, identify, identify_effect

URL = "http://127.0.0.1:8000/v1/chat/completions"
JSON = {"content-type": "application/json"}
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_the_order_of_keys_and_the_host_do_not_matter(value: Any) -> None:
    body = {"a": value, "b": 1}
    turned = dict(reversed(body.items()))
    one = identify("POST", URL, JSON, json.dumps(body).encode())
    two = identify(
        "post", "https://other.example/openai/v1/chat/completions", JSON, json.dumps(turned, indent=3).encode()
    )
    assert one == two


@given(plain, plain)
def test_other_content_is_another_request(one: Any, two: Any) -> None:
    digests = {identify("POST", URL, JSON, json.dumps(v).encode()).hash for v in (one, two)}
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert len(digests) == (1 if same else 2)


def test_method_path_and_query_tell_requests_apart() -> None:
    asked = [
        identify(method, url, {}, b"")
        for method, url in (
            ("GET", "http://h/v1/models"),
            ("DELETE", "http://h/v1/models"),
            ("GET", "http://h/v1/models?a=1&b="),
            ("GET", "http://h/v1/other"),
        )
    ]
    assert len({identity.hash for identity in asked}) == 4
    assert identify("GET", "http://h/v1/models?b=&a=1", {}, b"") == asked[2]
    assert [identity.kind for identity in asked] == ["llm", "llm", "llm", "http"]


def form(boundary: str, *parts: tuple[str, bytes]) -> tuple[dict[str, str], bytes]:
    body = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), h.encode(), c) for h, c in parts)
    return {"content-type": f'multipart/form-data; boundary="{boundary}"'}, body + f"--{boundary}--\r\n".encode()


def test_a_form_is_its_parts_and_not_its_boundary() -> None:
    parts = [
        ('Content-Disposition: form-data; name="model"', b"whisper"),
        ('Content-Disposition: form-data; name="stream"', b"true"),
        ('Content-Disposition: form-data; name="file"; filename="a.wav"', b"RIFF\r\n\r\n--x\x00"),
    ]
    url = "http://h/v1/audio/transcriptions"
    one = identify("POST", url, *form("first", *parts))
    assert one == identify("POST", url, *form("second", *parts))
    assert (one.model, one.streams, one.endpoint) == ("whisper", True, "POST audio/transcriptions")
    assert "RIFF" not in one.text
    assert json.loads(one.text)["multipart"][2]["filename"] == "a.wav"
    parts[2] = (parts[2][0], b"RIFF\r\n\r\n--x\x01")
    assert identify("POST", url, *form("first", *parts)).hash != one.hash


def test_a_large_field_of_a_form_is_its_digest() -> None:
    headers, body = form("b", ('Content-Disposition: form-data; name="prompt"', b"p" * 5000))
    (part,) = json.loads(identify("POST", "http://h/v1/audio/speech", headers, body).text)["multipart"]
    assert (part["size"], "text" in part) == (5000, False)


def test_a_form_without_a_boundary_is_its_bytes() -> None:
    identity = identify("POST", "http://h/v1/x", {"content-type": "multipart/form-data"}, b"anything")
    assert json.loads(identity.text)["multipart"][0]["size"] == 8


@pytest.mark.parametrize("body", [b"\xff\xfe not json", b"plain text"])
def test_another_body_is_its_digest(body: bytes) -> None:
    identity = identify("POST", "http://h/v1/x", {"content-type": "text/plain"}, body)
    assert json.loads(identity.text)["size"] == len(body)
    assert identify("POST", "http://h/v1/x", {}, b"[1, 2]").text == "[1,2]"
    assert identify("POST", "http://h/v1/x", {}, b'{"model": 3}').model is None


def test_a_huge_request_is_kept_as_its_digest() -> None:
    huge = {"messages": "x" * KEPT_REQUEST_BYTES}
    for identity in (identify("POST", URL, JSON, json.dumps(huge).encode()), identify_effect("pay", huge)):
        assert set(json.loads(identity.text)) == {"sha256", "size"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:30 GMT"}, 20.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=10.0) == seconds


@pytest.mark.parametrize(
    ("data", "tokens"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, (3, 4)),
        ({"usage": {"input_tokens": 3, "output_tokens": 4}}, (3, 4)),
        ({"response": {"usage": {"input_tokens": 3, "output_tokens": 4}}}, (3, 4)),
        ({"usage": {"prompt_tokens": True, "completion_tokens": -1}}, (None, None)),
        ({"usage": "many"}, (None, None)),
        ("text", (None, None)),
    ],
)
def test_usage_is_what_the_provider_says_or_nothing(data: Any, tokens: tuple[int | None, int | None]) -> None:
    assert usage_of(data) == tokens


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\r\n\r\n"


STREAM = b"".join(
    (
        b": a comment\n\n",
        event({"choices": [{"delta": {"content": "on"}}]}),
        event({"choices": []}),
        event({"choices": [{"delta": None}]}),
        event([1]),
        b"data: not json\n\n",
        event({"type": "response.output_text.delta", "delta": "e é"}),
        event({"type": "response.output_text.delta", "delta": {"odd": 1}}),
        event({"usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
        b"data: [DONE]\n\n",
    )
)


@given(st.lists(st.integers(1, 40), max_size=60))
def test_a_stream_is_followed_however_it_is_cut(sizes: list[int]) -> None:
    watch, texts, at = StreamWatch(), [], 0
    for size in (*sizes, len(STREAM)):
        texts += watch.feed(STREAM[at : at + size])
        at += size
    assert "".join(texts) == "one é"
    assert (watch.ended, watch.failed, watch.input_tokens, watch.output_tokens) == (True, None, 1, 2)


@pytest.mark.parametrize(
    ("data", "ended", "failed"),
    [
        ({"type": "response.completed", "response": {}}, True, None),
        ({"type": "response.incomplete"}, True, None),
        ({"type": "transcript.text.done"}, True, None),
        ({"type": "response.failed"}, False, "response.failed"),
        ({"error": {"message": "overloaded"}}, False, "error"),
    ],
)
def test_the_last_event_of_a_stream(data: Any, ended: bool, failed: str | None) -> None:
    watch = StreamWatch()
    watch.feed(event(data))
    assert (watch.ended, watch.failed) == (ended, failed)


def test_the_difference_of_two_requests_is_short() -> None:
    shown = request_difference('{"n":1,"text":"a"}', '{"n":1,"text":"b"}')
    assert '- "text": "a"'.replace(" ", "") in shown.replace(" ", "")
    assert request_difference("not json", None).splitlines()[-2:] == ["-not json", "+null"]
    many = [json.dumps(list(range(n, n + 200))) for n in (0, 1000)]
    assert len(request_difference(*many).splitlines()) == 60
