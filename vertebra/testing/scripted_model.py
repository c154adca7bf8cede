"""A scripted model behind a real HTTP server on the loopback interface.

Also a process of its own, so that it outlives a client that is killed:
``python -m vertebra.testing.scripted_model --books FILE`` prints its base URL as its first line and
serves until it is terminated.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from types import TracebackType

from vertebra.testing.books import Books
from vertebra.testing.provider import Provider
from vertebra.testing.script import Matcher, Rule
from vertebra.testing.server import POLL_S, ScriptServer


class ScriptedModel:
    """A model that says what it is told to, over HTTP, and keeps the books. A context manager, sync and async.

    Without rules it echoes: the same request gets the same answer, to the byte. ``sampled=True`` makes each
    paid answer different, as a real model's are, so that asking twice shows: an echo has a counter in its text,
    an answer of the script says what it was told under an id of its own. Input is billed at a quarter token a
    character of the canonical JSON request (an embedding's at that of its texts), output at that of its text
    or tool arguments.

    Example::

        >>> import openai
        >>> with ScriptedModel() as model:
        ...     _ = model.on("weather").fail(429, retry_after_s=0.01).reply("sunny")
        ...     with openai.OpenAI(base_url=model.base_url, api_key="test") as client:
        ...         answer = client.chat.completions.create(
        ...             model="any", messages=[{"role": "user", "content": "How is the weather?"}]
        ...         )
        >>> answer.choices[0].message.content
        'sunny'
        >>> [entry.status for entry in model.books], len(model.books.paid())
        ([429, 200], 1)
    """

    def __init__(
        self, *, sampled: bool = False, books_path: str | os.PathLike[str] | None = None, port: int = 0
    ) -> None:
        self._provider = Provider(sampled=sampled, books_path=books_path)
        self._server = ScriptServer(self._provider, port)
        self._thread: threading.Thread | None = None

    @property
    def books(self) -> Books:
        """What has reached this model so far."""
        return self._provider.books

    @property
    def base_url(self) -> str:
        """As ``http://127.0.0.1:PORT/v1``."""
        return f"http://127.0.0.1:{self._server.port}/v1"

    def env(self) -> dict[str, str]:
        """The environment in which the official client finds this model."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "test"}

    def on(self, matcher: Matcher = "") -> Rule:
        """A rule for requests whose prompt contains a text, matches a pattern, or which satisfy a function."""
        return self._provider.script.on(matcher)

    def start(self) -> ScriptedModel:
        """Serve, in a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(POLL_S,), name="scripted-model", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering; connections are cut, those that hang among them."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.cut_all()
        self._server.server_close()

    def __enter__(self) -> ScriptedModel:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> ScriptedModel:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main() -> None:
    """Print the base URL, then serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m vertebra.testing.scripted_model",
        description="A scripted model that speaks the OpenAI protocol.",
    )
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--books", help="JSON Lines file to keep the books in")
    parser.add_argument("--sampled", action="store_true", help="make each paid answer different")
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ScriptedModel(sampled=options.sampled, books_path=options.books, port=options.port) as model:
        print(model.base_url, flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
