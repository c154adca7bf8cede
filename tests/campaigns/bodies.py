"""What the nodes of the reference graph do, given an ``openai`` client: the same under Vertebra and plain LangGraph."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

MODEL = "m"
TOPICS = ("dose", "pain", "sleep", "diet")
SAME = "Is it urgent?"
"""Asked twice at once, word for word: two calls that only their ordinal tells apart."""
SCORE = "Score the draft"
ROUNDS = 2


class WrongAnswer(RuntimeError):
    """A call was given the answer of another."""


def heard(question: str, answer: str | None) -> str:
    """The answer, once it is sure that it belongs to the question: the scripted model repeats what it was asked."""
    if answer is None or not answer.startswith(f"answer to: {question} ["):
        raise WrongAnswer(f"Asked {question!r}, got {answer!r}.")
    return answer


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def ask(client: openai.AsyncOpenAI, question: str) -> str:
    reply = await client.chat.completions.create(model=MODEL, messages=said(question))
    return heard(question, reply.choices[0].message.content)


async def compare(client: openai.AsyncOpenAI, about: str) -> list[str]:
    """Six calls at once, two of them equal."""
    questions = [*(f"Compare {about} on {topic}" for topic in TOPICS), SAME, SAME]
    return list(await asyncio.gather(*(ask(client, question) for question in questions)))


async def read(client: openai.AsyncOpenAI, about: str) -> list[str]:
    """Two calls, the second of a task of its own beside the first."""
    second = asyncio.create_task(ask(client, f"Doubt {about}"))
    return [await ask(client, f"Review {about}"), await second]


async def draft(client: openai.AsyncOpenAI, round_: int) -> str:
    """A stream, then a call whose request is the same in every round."""
    question = f"Draft {round_}"
    text = ""
    async with await client.chat.completions.create(model=MODEL, stream=True, messages=said(question)) as stream:
        async for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    return heard(question, text) + " / " + await ask(client, "Is it good?")


def draft_sync(client: openai.OpenAI, round_: int) -> str:
    """``draft`` for a node written as ``def``."""
    question = f"Draft {round_}"
    with client.chat.completions.create(model=MODEL, stream=True, messages=said(question)) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    reply = client.chat.completions.create(model=MODEL, messages=said("Is it good?"))
    return heard(question, text) + " / " + heard("Is it good?", reply.choices[0].message.content)


async def score(client: openai.AsyncOpenAI) -> str:
    """A number, from the second answer on: the first is to be sampled anew."""
    reply = await client.chat.completions.create(model=MODEL, messages=said(SCORE))
    return reply.choices[0].message.content or ""


CALLS = 3 + (len(TOPICS) + 2) + 2 + 2 * ROUNDS + 2
"""What one run over three pieces pays for when nothing goes wrong but what the script has go wrong."""
