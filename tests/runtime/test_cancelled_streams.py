"""A stream whose reader is cancelled half-way: the half is never taken for the answer."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from vertebra import END, START, Context, Graph, llm, open_checkpointer
from vertebra.ports import set_crash_hook
from vertebra.testing import ScriptedTransport

TEXT = "a text that takes several pieces to say"


class State(BaseModel):
    text: str = ""


@llm
async def tell(state: State, ctx: Context) -> dict[str, object]:
    text = ""
    question = [{"role": "user", "content": "Tell"}]
    async with await ctx.client.chat.completions.create(model="m", stream=True, messages=question) as stream:
        async for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            await asyncio.sleep(0)  # a place to be cancelled at between two pieces too
    return {"text": text}


@pytest.mark.parametrize("piece", [1, 2, 3])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_cancelled_reader_gets_the_whole_answer_when_it_goes_on(piece: int, turns: int) -> None:
    model = ScriptedTransport()
    model.on("Tell").reply(TEXT)
    g = Graph(State, name="teller")
    g.add_edge(START, tell)
    g.add_edge(tell, END)
    with open_checkpointer("memory://") as store:
        app = g.compile(checkpointer=store, sender=model)
        drive = asyncio.ensure_future(app.run({}, thread_id="t"))
        pieces = 0

        def cancel(turns: int) -> None:
            if turns:
                asyncio.get_running_loop().call_soon(cancel, turns - 1)
            else:
                drive.cancel()

        def pass_by(point: str) -> None:
            nonlocal pieces
            pieces += point == "call.streaming"
            if point == "call.streaming" and pieces == piece:
                cancel(turns)

        set_crash_hook(pass_by)
        try:
            with pytest.raises(asyncio.CancelledError):
                await drive
        finally:
            set_crash_hook(None)
        run = (await app.recover())[0]
        assert run.status == "done", run.error
        assert run.output.text == TEXT
        calls = await store.journal.calls("t")
        assert len(model.books.paid()) == 1 + calls[0].lost
