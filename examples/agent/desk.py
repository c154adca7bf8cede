"""A service desk in the terminal: an agent that looks orders up, and pays money back once you have approved it.

    python examples/agent/desk.py ann

You are both: the customer who asks, and the colleague who approves (y or n). Each day is a thread of its own, and what
was said on other days is remembered. Kill it with ``kill -9`` wherever you like, also while a question waits, and start
it again: it goes on there, and nothing is paid twice, neither to the model nor to the customer.

It asks OPENAI_BASE_URL or OPENAI_API_KEY, with VERTEBRA_MODEL, where one is set. Without, a script plays the model: it
knows the words "where", "back" and "17", so that all of this can be seen without a key.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from vertebra import Context, Interrupt, Run, VertebraError
from vertebra.errors import ToolError
from vertebra.graphs import Approval, agent, tool
from vertebra.runtime.app import App

PAID = Path("paid.txt")
"""The bank: a line for each payment, with the key by which it would know a payment that is asked for twice."""

ORDERS = {"17": "a lamp for 40 EUR, broken on arrival", "18": "a chair for 90 EUR, on its way"}


@tool
def look_up(order: str) -> str:
    """What is known of an order, by its number."""
    if order not in ORDERS:
        raise ToolError(f"There is no order {order}.")
    return ORDERS[order]


def find_payment(order: str, amount_eur: float, ctx: Context) -> str | None:
    """Asked after a crash: has the bank got it?"""
    known = PAID.read_text() if PAID.exists() else ""
    return f"paid {amount_eur} EUR" if str(ctx.idempotency_key) in known else None


@tool(approval=True, check=find_payment)
def refund(order: str, amount_eur: Annotated[float, Field(gt=0, le=500)], ctx: Context) -> str:
    """Pay money back to the customer of an order."""
    with PAID.open("a") as bank:
        bank.write(f"{order} {amount_eur} {ctx.idempotency_key}\n")
    return f"paid {amount_eur} EUR"


desk = agent(
    "desk",
    tools=[look_up, refund],
    system="You answer customers of a shop for furniture, in one or two sentences.",
    memory=4000,
)
desk.require("tools/approve_refund", before="tools/refund")


async def serve(app: App, person: str, thread: str) -> None:
    """End what a killed process has begun, then answer until there is nothing more to ask."""
    await app.recover()
    with contextlib.suppress(VertebraError):  # there is no such thread yet
        standing = await app.status(thread)
        if standing.status == "interrupted":
            tell(await approved(app, standing))
    while said := (await asyncio.to_thread(read, f"{person}: ")).strip():
        question = {"messages": [{"role": "user", "content": said}], "conversation": person, "subject": person}
        tell(await approved(app, await app.run(question, thread_id=thread)))


async def approved(app: App, run: Run) -> Run:
    """Ask the colleague whatever the run waits for, and drive it on."""
    while run.status == "interrupted":
        answer = await asyncio.to_thread(decide, run.interrupts[0])
        run = await app.resume(run.thread_id, answer, interrupt_id=run.interrupts[0].id)
    return run


def decide(question: Interrupt) -> Approval:
    word = read(f"(colleague) {question.text} [y/n] ").strip().lower()
    return Approval(approved=word.startswith("y"), reason="" if word.startswith("y") else "It was not approved.")


def tell(run: Run) -> None:
    print(f"desk: {run.output.answer}" if run.status == "done" else f"({run.status}) {run.error or ''}", flush=True)


def read(prompt: str) -> str:
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


@contextlib.contextmanager
def script() -> Iterator[None]:
    """A model that plays its part by rote: each answer depends on the last message alone."""
    from vertebra.testing import ScriptedModel

    def last(role: str, *words: str) -> Any:
        def matches(asked: Any) -> bool:
            message = asked.body["messages"][-1]
            return message["role"] == role and all(word in str(message["content"]).lower() for word in words)

        return matches

    with ScriptedModel() as model:
        model.on(last("tool", "paid")).reply("The money is on its way to you.")
        model.on(last("tool", "not done")).reply("I am sorry: my colleague has not approved it.")
        model.on(last("tool", "lamp")).reply(
            "Your order is a lamp that arrived broken. Would you like your money back?"
        )
        model.on(last("tool")).reply("I do not find that order.")
        model.on(last("user", "back", "17")).call_tool("refund", {"order": "17", "amount_eur": 40}, times=None)
        model.on(last("user", "where", "17")).call_tool("look_up", {"order": "17"}, times=None)
        model.on(last("user")).reply("I am a script. Ask where your order 17 is, or for your money back for order 17.")
        os.environ |= model.env()
        yield


async def main(person: str, thread: str) -> None:
    has_model = "OPENAI_BASE_URL" in os.environ or "OPENAI_API_KEY" in os.environ
    with contextlib.nullcontext() if has_model else script():
        stores = {"checkpointer": "sqlite:///desk-threads.db", "memory": "sqlite:///desk-memory.db"}
        async with desk.compile(**stores, default_model=os.environ.get("VERTEBRA_MODEL", "gpt-5-mini")) as app:
            with contextlib.suppress(EOFError):
                await serve(app, person, thread)


if __name__ == "__main__":
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("person", nargs="?", default="you", help="who is asking (default: you)")
    command.add_argument("--thread", help="where to go on (default: person and date)")
    options = command.parse_args()
    today = f"{options.person}-{datetime.datetime.now().astimezone():%Y-%m-%d}"
    try:
        asyncio.run(main(options.person, options.thread or today))
    except VertebraError as error:
        sys.exit(f"desk: {error}")
