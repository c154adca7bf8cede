"""Connections to the provider: kept between calls, closed with the app or with the event loop, never left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, llm
from vertebra.runtime.app import App
from vertebra.testing.provider import Provider
from vertebra.testing.server import POLL_S, ScriptServer


class State(BaseModel):
    said: Append[str] = []


@llm
async def ask(state: State, ctx: Context) -> dict[str, object]:
    reply = await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    return {"said": [str(reply.choices[0].message.content)]}


@llm
def ask_sync(state: State, ctx: Context) -> dict[str, object]:
    reply = ctx.sync_client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    return {"said": [str(reply.choices[0].message.content)]}


def compiled(node: Any = ask) -> App:
    g = Graph(State, name="asking")
    g.add_edge(START, node)
    g.add_edge(node, END)
    app: App = g.compile()
    return app


class Counting(ScriptServer):
    """Knows how many connections it has had, and how many are open."""

    accepted = ended = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.accepted += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.ended += 1

    def require_none_open(self) -> None:
        """Its own threads see the end of a connection a moment later."""
        deadline = time.monotonic() + 10
        while self.ended < self.accepted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.ended == self.accepted


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    server = Counting(Provider())
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
    yield server
    server.shutdown()
    thread.join()
    server.cut_all()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Python warns of each connection that is collected and not closed."""
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(warning.message) for warning in told if warning.category is ResourceWarning] == []


async def run(app: App, times: int = 1) -> None:
    for _ in range(times):
        assert (await app.run({})).status == "done"


def test_a_connection_serves_the_calls_of_its_loop_and_ends_with_it(server: Counting) -> None:
    """A worker that calls ``asyncio.run`` for each job would run out of file descriptors."""
    with compiled() as app:
        for loops in (1, 2, 3):
            asyncio.run(run(app, times=2))
            assert server.accepted == loops
            server.require_none_open()


@pytest.mark.parametrize("node", [ask, ask_sync])
def test_sync_code_closes_them_with_the_app(server: Counting, node: Any) -> None:
    with compiled(node) as app:
        app.run_sync({})
        app.run_sync({})
        assert server.accepted == 1
    server.require_none_open()
    app.close()  # once more, and nothing happens


def test_async_code_closes_those_of_other_loops_too(server: Counting) -> None:
    app = compiled()
    app.run_sync({})

    async def main() -> None:
        async with app:
            await run(app)
            assert server.accepted == 2
        await asyncio.to_thread(server.require_none_open)

    asyncio.run(main())


def test_closed_by_sync_code_on_a_loop(server: Counting) -> None:
    """It cannot wait for the loop that it stands on: they are closed as soon as that goes on."""

    async def main() -> None:
        with compiled() as app:
            await run(app)
        await asyncio.to_thread(server.require_none_open)

    asyncio.run(main())


def test_an_app_that_nobody_closes_lets_go_of_them(server: Counting) -> None:
    app = compiled()
    app.run_sync({})
    app.services.store.close()  # databases are not left to be collected
    del app
    gc.collect()
    server.require_none_open()


def test_a_loop_that_is_not_running_closes_them_when_it_ends(server: Counting) -> None:
    loop = asyncio.new_event_loop()
    with compiled() as app:
        loop.run_until_complete(run(app))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    server.require_none_open()


def test_an_app_that_was_closed_opens_one_when_it_is_used_again(server: Counting) -> None:
    app = compiled()
    app.run_sync({})
    app.services.close()
    server.require_none_open()
    app.run_sync({})
    assert server.accepted == 2
    app.close()
    server.require_none_open()


def test_a_forked_child_leaves_those_of_its_parent_alone(server: Counting) -> None:
    with compiled() as app:
        app.run_sync({})
        child = os.fork()
        if child == 0:
            try:
                started = time.monotonic()
                app.services.close()
                os._exit(time.monotonic() - started > 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        app.run_sync({})
        assert server.accepted == 1
