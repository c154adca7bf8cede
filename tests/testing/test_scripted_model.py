"""The scripted model, as the official clients see it over a real socket."""

from __future__ import annotations

import asyncio
import json
import math
import time

import httpx2
import openai
import pytest
from pydantic import BaseModel

from vertebra.testing import ScriptedModel

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
        },
    }
]


class Finding(BaseModel):
    title: str
    score: int
    tags: list[str]


def ask(client: openai.OpenAI, text: str = "hello", **more):
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **more)


def test_echo_is_a_function_of_the_whole_request(client, model):
    first, again, other = ask(client), ask(client), ask(client, temperature=0.5)
    assert first.choices[0].message.content.startswith("answer to: hello [")
    assert first == again
    assert first.choices[0].message.content != other.choices[0].message.content
    assert first.usage.completion_tokens == math.ceil(len(first.choices[0].message.content) / 4)
    assert model.books.paid_by_digest().most_common(1)[0][1] == 2


def test_the_prompt_is_the_last_user_message(client, model):
    model.on("second").reply("2")
    talk = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": [{"type": "text", "text": "the second"}]},
    ]
    assert client.chat.completions.create(model="m", messages=talk).choices[0].message.content == "2"


def test_sampled_answers_all_differ():
    with ScriptedModel(sampled=True) as model, openai.OpenAI(base_url=model.base_url, api_key="k") as client:
        model.on("told").reply("as told")
        told, again, echo, other = (ask(client, text) for text in ("told", "told", "echo", "echo"))
        assert [one.choices[0].message.content for one in (told, again)] == ["as told"] * 2
        assert told.id != again.id
        assert echo.choices[0].message.content != other.choices[0].message.content


def test_chat_stream_with_usage(client, model):
    model.on("long").reply("a text of more than one piece")
    chunks = list(ask(client, "a long one", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "a text of more than one piece"
    assert chunks[-1].usage.completion_tokens == math.ceil(len(text) / 4)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def _async_chat(base_url: str) -> tuple[str, str]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="test") as client:
        messages = [{"role": "user", "content": "hello"}]
        plain = await client.chat.completions.create(model="m", messages=messages)
        async with client.chat.completions.stream(model="m", messages=messages) as stream:
            final = await stream.get_final_completion()
        return plain.choices[0].message.content, final.choices[0].message.content


async def _with_model() -> tuple[str, str]:
    async with ScriptedModel() as model:
        return await _async_chat(model.base_url)


def test_async_client_and_async_context():
    plain, streamed = asyncio.run(_with_model())
    assert plain.startswith("answer to: hello")
    assert streamed.startswith("answer to: hello")


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_then_the_answer(client, model, stream):
    model.on("word").call_tool("look_up", {"word": "vertebra, the bone of the spine"}).reply("found")
    if stream:
        with client.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "a word"}], tools=TOOLS
        ) as events:
            first = events.get_final_completion()
    else:
        first = ask(client, "a word", tools=TOOLS)
    call = first.choices[0].message.tool_calls[0]
    assert first.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)["word"][:8]) == ("look_up", "vertebra")
    assert ask(client, "a word", tools=TOOLS).choices[0].message.content == "found"


def test_a_tool_that_is_required_is_called_with_fitting_arguments(client):
    call = ask(client, tools=TOOLS, tool_choice="required").choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["word"].startswith("answer to: hello")


def test_parse_of_chat_echoes_within_the_schema_and_replies_as_told(client, model):
    messages = [{"role": "user", "content": "hello"}]
    echoed = client.chat.completions.parse(model="m", messages=messages, response_format=Finding)
    assert echoed.choices[0].message.parsed.title.startswith("answer to: hello")
    model.on("hello").reply_json({"title": "t", "score": 3, "tags": []})
    told = client.chat.completions.parse(model="m", messages=messages, response_format=Finding)
    assert told.choices[0].message.parsed == Finding(title="t", score=3, tags=[])


def test_a_limit_of_tokens_cuts_the_answer(client):
    choice = ask(client, max_tokens=2).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("length", "answer t")
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="m", messages=[{"role": "user", "content": "x"}], response_format=Finding, max_completion_tokens=2
        )
    short = client.responses.create(model="m", input="hello", max_output_tokens=2)
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_responses_create_stream_and_parse(client, model):
    plain = client.responses.create(model="m", input="hello")
    assert plain.output_text.startswith("answer to: hello")
    assert plain.usage.total_tokens == plain.usage.input_tokens + plain.usage.output_tokens
    model.on("piece").reply("more than one piece of text")
    with client.responses.stream(model="m", input="piece") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "more than one piece of text"
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") == 3
    raw = list(client.responses.create(model="m", input="piece", stream=True))
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    parsed = client.responses.parse(model="m", input="hello", text_format=Finding)
    assert parsed.output_parsed.title.startswith("answer to: hello")


@pytest.mark.parametrize("stream", [False, True])
def test_responses_call_tools(client, model, stream):
    tool = {"type": "function", **TOOLS[0]["function"], "strict": False}
    model.on("word").call_tool("look_up", {"word": "bone"}, times=None)
    if stream:
        with client.responses.stream(model="m", input="word", tools=[tool]) as events:
            final = events.get_final_response()
    else:
        final = client.responses.create(model="m", input="word", tools=[tool])
    assert (final.output[0].name, json.loads(final.output[0].arguments)) == ("look_up", {"word": "bone"})


def test_embeddings_in_both_codings(client):
    coded = client.embeddings.create(model="e", input=["one", "two", "one"])
    plain = client.embeddings.create(model="e", input="one", encoding_format="float")
    one, two, same = (item.embedding for item in coded.data)
    assert one == same != two
    assert one == pytest.approx(plain.data[0].embedding)
    assert math.hypot(*one) == pytest.approx(1, abs=1e-6)
    assert coded.usage.prompt_tokens == 3
    assert len(client.embeddings.create(model="e", input="one", dimensions=64).data[0].embedding) == 64


def test_transcription_is_keyed_by_its_parts_not_its_boundary(client, model):
    sound = b"RIFF\r\n\r\n--not-a-boundary\r\n\n"
    texts = [
        client.audio.transcriptions.create(model="w", file=("a.wav", data, "audio/wav")).text
        for data in (sound, sound, sound + b"\n")
    ]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("answer to: a.wav")
    assert sorted(model.books.paid_by_digest().values()) == [1, 2]
    model.on("a.wav").reply("Good morning.")
    file = ("a.wav", sound, "audio/wav")
    assert "Good" in client.audio.transcriptions.create(model="w", file=file, response_format="text")
    verbose = client.audio.transcriptions.create(
        model="w", file=file, response_format="verbose_json", timestamp_granularities=["segment", "word"]
    )
    assert verbose.segments[0].text == "Good morning."


def test_models_are_listed_and_cost_nothing(client, model):
    model.on().fail(500, times=None)
    assert [one.id for one in client.models.list()] == ["scripted"]
    assert (len(model.books), model.books.paid()) == (1, [])


def test_many_at_once_are_each_answered_for_themselves(model):
    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=model.base_url, api_key="k") as client:
            calls = [
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"<{n}>"}])
                for n in range(40)
            ]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

    texts = asyncio.run(main())
    assert all(f"<{n}>" in text for n, text in enumerate(texts))
    assert model.books.repeats() == {}


def test_connections_are_kept_alive_and_quick(model):
    with httpx2.Client() as http:
        took = []
        for _ in range(20):
            begun = time.perf_counter()
            answer = http.post(f"{model.base_url}/embeddings", json={"input": "x"})
            took.append(time.perf_counter() - begun)
        assert answer.http_version == "HTTP/1.1"
        assert "connection" not in answer.headers
    assert sorted(took)[5] < 0.035, "each request waits for a delayed acknowledgement"


def test_chunked_request_bodies_are_read(model):
    def body():
        yield b'{"input": '
        yield b'"x"}'

    with httpx2.Client() as http:
        for _ in range(2):
            answer = http.post(f"{model.base_url}/embeddings", content=body())
            assert answer.json()["data"][0]["index"] == 0


def test_what_it_cannot_do_is_refused_and_in_the_books(model):
    with httpx2.Client() as http:
        assert http.post(f"{model.base_url}/chat/completions", content=b"{").status_code == 400
        assert http.post(f"{model.base_url}/chat/completions", content=b"[]").status_code == 400
        assert http.post(f"{model.base_url}/images", json={}).status_code == 404
        assert http.get(f"{model.base_url}/chat/completions").status_code == 404
    assert [entry.status for entry in model.books] == [400, 400, 404, 404]
    assert model.books.paid() == []


def test_the_fixture_sets_the_environment(scripted_model, virtual_clock):
    with openai.OpenAI() as client:
        assert ask(client).choices[0].message.content.startswith("answer to: hello")
    assert virtual_clock.now().year == 2026
