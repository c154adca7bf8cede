"""Faults, done for real on the wire."""

from __future__ import annotations

import json
import re
import threading
import time

import httpx2
import openai
import pytest

from vertebra.testing import ScriptedModel


def ask(client: openai.OpenAI, text: str = "hello", **more):
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **more)


def statuses(model: ScriptedModel) -> list[int]:
    return [entry.status for entry in model.books]


def test_429_with_retry_after_as_often_as_told(client, model):
    model.on("hello").fail(429, retry_after_s=0.05, times=2)
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)
        assert caught.value.response.headers["retry-after"] == "0.05"
    assert ask(client).choices[0].message.content.startswith("answer to")
    assert statuses(model) == [429, 429, 200]
    assert len(model.books.paid()) == 1


def test_the_clients_own_retry_gets_through(model):
    model.on().fail(status=429, retry_after_s=0.01).fail(status=503, retry_after_s=0.01).reply("at last")
    with openai.OpenAI(base_url=model.base_url, api_key="k", max_retries=2) as client:
        assert ask(client).choices[0].message.content == "at last"


def test_a_fault_without_end(client, model):
    model.on().fail(500, times=None).reply("never")
    for _ in range(4):
        with pytest.raises(openai.InternalServerError):
            ask(client)


def test_rules_in_order_and_used_up_ones_fall_through(client, model):
    model.on("hello").fail(500).reply("once", times=1)
    model.on(re.compile("h.llo")).reply("one", "two")
    model.on(lambda asked: asked.model == "m").reply("by function")
    with pytest.raises(openai.InternalServerError):
        ask(client)
    assert [ask(client).choices[0].message.content for _ in range(4)] == ["once", "one", "two", "two"]
    assert ask(client, "other").choices[0].message.content == "by function"


def test_an_answer_before_another_step_is_given_once(client, model):
    model.on().reply("good").fail(500).reply("good again")
    assert ask(client).choices[0].message.content == "good"
    with pytest.raises(openai.InternalServerError):
        ask(client)
    assert [ask(client).choices[0].message.content for _ in range(2)] == ["good again"] * 2


def test_a_hang_lasts_until_the_client_gives_up(model):
    model.on().hang().reply("awake")
    with openai.OpenAI(base_url=model.base_url, api_key="k", max_retries=0, timeout=0.2) as client:
        with pytest.raises(openai.APITimeoutError):
            ask(client)
        assert ask(client, timeout=10).choices[0].message.content == "awake"
    assert [(entry.status, entry.paid, entry.delivered) for entry in model.books] == [
        (0, False, False),
        (200, True, True),
    ]


def test_stopping_the_model_ends_what_hangs():
    with ScriptedModel() as model:
        model.on().hang(times=None)
        begun = time.perf_counter()
        with openai.OpenAI(base_url=model.base_url, api_key="k", max_retries=0, timeout=30) as client:
            threading.Timer(0.2, model.stop).start()
            with pytest.raises(openai.APIConnectionError):
                ask(client)
        assert time.perf_counter() - begun < 10


def test_a_stream_is_cut_after_so_many_events(client, model):
    model.on().cut(after_chunks=2)
    got = []
    with pytest.raises((openai.APIConnectionError, httpx2.TransportError)):
        got.extend(ask(client, stream=True))
    entry = next(iter(model.books))
    assert (entry.paid, entry.delivered, entry.status) == (True, False, 200)
    with httpx2.Client() as http:
        model.on().cut(after_chunks=2)
        seen: list[bytes] = []
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
        with http.stream("POST", f"{model.base_url}/chat/completions", json=body) as answer:
            with pytest.raises(httpx2.RemoteProtocolError):
                seen.extend(answer.iter_raw())
        assert b"".join(seen).count(b"data: ") == 2


def test_a_cut_is_a_cut_even_beyond_the_last_event(model):
    model.on().cut(after_chunks=999)
    with httpx2.Client() as http, pytest.raises(httpx2.RemoteProtocolError):
        http.post(f"{model.base_url}/chat/completions", json={"messages": [], "stream": True})


def test_a_body_is_cut_in_its_middle(model):
    model.on().cut()
    with httpx2.Client() as http, pytest.raises(httpx2.RemoteProtocolError, match="expected"):
        http.post(f"{model.base_url}/chat/completions", json={"messages": []})
    assert [(entry.paid, entry.delivered) for entry in model.books] == [(True, False)]


@pytest.mark.parametrize("stream", [False, True])
def test_bad_json_is_well_framed(model, stream):
    model.on().bad_json()
    with httpx2.Client() as http:
        answer = http.post(f"{model.base_url}/chat/completions", json={"messages": [], "stream": stream})
        assert answer.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.content.removeprefix(b"data: "))
        assert http.post(f"{model.base_url}/chat/completions", json={"messages": []}).json()["id"]


def test_delay_and_size(client, model):
    model.on("slow").delay(0.2)
    model.on("big").too_large(100_000)
    begun = time.perf_counter()
    ask(client, "slow")
    assert time.perf_counter() - begun >= 0.2
    assert len(ask(client, "big").choices[0].message.content) == 100_000


def test_a_client_that_goes_before_its_answer_is_in_the_books_as_undelivered(model):
    model.on().delay(5).reply("late")
    with openai.OpenAI(base_url=model.base_url, api_key="k", max_retries=0, timeout=0.1) as client:
        with pytest.raises(openai.APITimeoutError):
            ask(client)
    until = time.monotonic() + 5
    while next(iter(model.books)).delivered and time.monotonic() < until:
        time.sleep(0.01)
    assert [(entry.paid, entry.delivered) for entry in model.books] == [(True, False)]


@pytest.mark.parametrize("call", [lambda rule: rule.reply(), lambda rule: rule.fail(times=0)])
def test_what_makes_no_sense_is_refused(model, call):
    with pytest.raises(ValueError):
        call(model.on())
