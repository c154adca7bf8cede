"""A graph of three paid calls whose database fails in the middle; also a command, for a process of its own."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, llm
from vertebra.errors import VertebraError
from vertebra.ports import set_crash_hook
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel
from vertebra.types import Run


class State(BaseModel):
    said: Append[str] = []


def asking(what: str) -> Callable[..., object]:
    async def ask(state: State, ctx: Context) -> dict[str, object]:
        reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": what}])
        return {"said": [str(reply.choices[0].message.content) + "x" * 100_000]}

    ask.__name__ = what
    return llm(ask)


def opened(url: str) -> App:
    g = Graph(State, name="faulty")
    nodes = [asking(name) for name in ("one", "two", "three")]
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        g.add_edge(before, after)
    app: App = g.compile(checkpointer=url, default_model="m", lease_ttl_s=5.0)
    return app


@contextmanager
def at(point: str, nth: int, fault: Callable[[], object]) -> Iterator[None]:
    """Let ``fault`` happen when a crash point is reached for the nth time."""
    reached = Counter[str]()

    def hook(name: str) -> None:
        reached[name] += 1
        if name == point and reached[name] == nth:
            fault()

    set_crash_hook(hook)
    try:
        yield
    finally:
        set_crash_hook(None)


def require_whole(run: Run, model: ScriptedModel) -> None:
    """The run has all it should have, and each of its calls was paid for once."""
    assert (run.status, len(run.output.said)) == ("done", 3)
    assert sorted(Counter(entry.digest for entry in model.books.paid()).values()) == [1, 1, 1]


if __name__ == "__main__":  # ACTION URL THREAD
    action, url, thread = sys.argv[1:]
    try:
        with opened(url) as app:
            if action == "fail":
                with at("checkpoint.after", 3, lambda: sys.exit(0)):
                    app.run_sync({}, thread_id=thread)
            print(app.resume_sync(thread).status if action == "resume" else app.run_sync({}, thread_id=thread).status)
    except VertebraError as error:
        print(error.code)
