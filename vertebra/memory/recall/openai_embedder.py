"""An embedder that asks the ``/embeddings`` of OpenAI, or of a server that speaks its protocol."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from vertebra.errors import (
    CallError,
    EmbeddingInvalid,
    NoVisit,
    ProviderRefused,
    ProviderUnreachable,
    UsageError,
    VertebraError,
)

KNOWN = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
"""How long the vectors of OpenAI's models are, if no other length is asked for."""

BATCH = 256
"""So many texts a request at most; OpenAI takes 2,048."""

TEXT_BYTES = 8_000
"""Of a longer text the beginning counts. A token is never less than a byte, and OpenAI takes 8,192 of them a text."""

REQUEST_BYTES = 300_000
"""So much of all texts a request; OpenAI takes as many tokens."""

BLANK = " "
"""In place of an empty text, which OpenAI refuses."""


class OpenAIEmbedder:
    """Vectors of a model behind the official ``openai`` client, imported at the first text.

    ``dimensions``: the length of its vectors; a model of OpenAI's is asked for it where it is not the model's own.
    ``max_text_bytes``: a longer text is cut, at a letter, so that no provider refuses it, and all that wait behind it:
    8,000 is safe for any text and OpenAI's models; a server of your own may take less, or of your language more.
    ``client``: a sync ``openai.OpenAI`` (default: one of the environment). ``http_client``:
    ``vertebra.http_client(sync=True)``, for a memory that nodes search: their calls pass the door and are answered from
    the record after a crash; outside of nodes requests are sent by ``client``.

    Example::

        embedder = OpenAIEmbedder("text-embedding-3-small", http_client=vertebra.http_client(sync=True))
        memory = open_memory("sqlite:///memory.db", embedder=embedder)
    """

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        max_text_bytes: int = TEXT_BYTES,
        client: Any = None,
        http_client: Any = None,
    ) -> None:
        own = KNOWN.get(model)
        if dimensions is None and own is None:
            raise UsageError(
                f"How long are the vectors of {model!r}?", remedy=f"OpenAIEmbedder({model!r}, dimensions=...)."
            )
        self._model, self.dimensions = model, dimensions if dimensions is not None else own or 0
        if self.dimensions < 1:
            raise UsageError(f"dimensions={dimensions} is no length of a vector.", remedy="pass 1 or more.")
        if max_text_bytes < 4:  # the longest letter
            raise UsageError(f"max_text_bytes={max_text_bytes} is no length of a text.", remedy="pass 4 or more.")
        self._max_text_bytes = max_text_bytes
        self.name = f"openai/{model}/{self.dimensions}"
        self._options = {"dimensions": self.dimensions} if own not in (None, self.dimensions) else {}
        self._client, self._http_client, self._journaled = client, http_client, None
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, many a request. In a node, safe to replay: a recorded answer is not paid again.

        Raises ``ProviderUnreachable``, ``ProviderRefused``, ``EmbeddingInvalid``, and what the door raises.
        """
        found: list[list[float]] = []
        for batch in _batches([_cut(text, self._max_text_bytes) for text in texts]):
            found += self._ordered(self._ask(batch), len(batch))
        return found

    def _ask(self, batch: Sequence[str]) -> Any:
        journaled, plain = self._clients()
        if journaled is not None:
            try:
                return self._request(journaled, batch)
            except NoVisit:
                pass  # not in a node
        return self._request(plain, batch)

    def _clients(self) -> tuple[Any, Any]:
        with self._lock:
            if self._client is None:
                self._client = _openai().OpenAI(**_key())
                weakref.finalize(self, self._client.close)  # its connections, at the latest when the process ends
            if self._http_client is not None and self._journaled is None:
                # The door sends again what is worth it; retries of the client would shift what is recorded.
                self._journaled = self._client.with_options(http_client=self._http_client, max_retries=0)
            return self._journaled, self._client

    def _request(self, client: Any, batch: Sequence[str]) -> Any:
        openai = _openai()
        try:
            return client.embeddings.create(model=self._model, input=list(batch), **self._options)
        except openai.APIStatusError as error:
            raise ProviderRefused(
                f"Embedding by {self._model!r} was answered with {error.status_code}.",
                remedy="mend what the provider names (key, quota, request), then do the same again.",
                status=error.status_code,
            ) from error
        except openai.APIConnectionError as error:
            raise _typed(error) or ProviderUnreachable(
                f"Embedding by {self._model!r} got no answer.",
                remedy="check the network and OPENAI_BASE_URL, then do the same again.",
                kind=type(error).__name__,
            ) from error
        except (openai.OpenAIError, ValueError) as error:
            raise EmbeddingInvalid(
                f"The answer for {self._model!r} cannot be read: {type(error).__name__}.", embedder=self.name
            ) from error

    def _ordered(self, answer: Any, count: int) -> list[list[float]]:
        by_index = {item.index: item.embedding for item in getattr(answer, "data", None) or ()}
        if set(by_index) != set(range(count)) or len(answer.data) != count:
            raise EmbeddingInvalid(
                f"{self._model!r} gave {len(by_index)} vectors for {count} texts, or numbered them otherwise.",
                embedder=self.name,
            )
        for vector in by_index.values():
            if len(vector) != self.dimensions:
                raise EmbeddingInvalid(
                    f"{self._model!r} gave {len(vector)} dimensions, not {self.dimensions}.", embedder=self.name
                )
        return [by_index[number] for number in range(count)]


def _cut(text: str, max_bytes: int) -> str:
    """The beginning of a text, not in the middle of a letter."""
    if len(text) * 4 > max_bytes:
        text = text.encode("utf-8", "ignore")[:max_bytes].decode("utf-8", "ignore")
    return text if text.strip() else BLANK


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in their order, so many a request as a provider takes."""
    batch: list[str] = []
    size_bytes = 0
    for text in texts:
        more_bytes = len(text.encode("utf-8", "ignore"))
        if batch and (len(batch) == BATCH or size_bytes + more_bytes > REQUEST_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(text)
        size_bytes += more_bytes
    if batch:
        yield batch


def _openai() -> Any:
    import openai  # takes a second

    return openai


def _key() -> dict[str, str]:
    # Servers of one's own want none; a provider that does answers 401.
    return {} if os.environ.get("OPENAI_API_KEY") else {"api_key": "not-set"}


def _typed(error: BaseException) -> VertebraError | None:
    """The error of the door that the client's libraries have wrapped."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, CallError):
        cause = cause.__cause__
    return cause
