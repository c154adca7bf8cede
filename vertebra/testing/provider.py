"""The provider: script and books behind one decision for each request, whatever carries it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from vertebra.testing.books import BookEntry, Books
from vertebra.testing.exchange import Answered, Asked
from vertebra.testing.protocol import METHODS, MODELS, error_body, read_request, render
from vertebra.testing.rendered import Rendered
from vertebra.testing.script import Script


@dataclass(frozen=True, slots=True)
class Decision:
    """What to send for a request that is already in the books. ``rendered`` is never empty but for a hang."""

    entry: BookEntry
    status: int
    rendered: Rendered
    answer: Answered

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": self.rendered.content_type, "x-request-id": f"req_{self.entry.id}"}
        if self.answer.retry_after_s is not None:
            headers["retry-after"] = f"{self.answer.retry_after_s:g}"
        return headers

    @property
    def chunks(self) -> tuple[bytes, ...]:
        """All that is to be sent: less than the whole answer where it is cut or its JSON bad."""
        whole = self.rendered.chunks
        if self.answer.fault == "cut" and self.rendered.streams:
            return whole[: min(self.answer.after_chunks, len(whole) - 1)]
        if self.answer.fault in ("cut", "bad_json") and self.status == 200:
            body = b"".join(whole)
            return (body[: len(body) // 2],)
        return whole


class Provider:
    """Script and books: what the server and the in-process transport share. Safe in many threads."""

    def __init__(self, *, sampled: bool = False, books_path: str | os.PathLike[str] | None = None) -> None:
        self.script = Script(sampled=sampled)
        self.books = Books(books_path)

    def decide(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Decision:
        """Read the request, choose the answer and enter it in the books. ``headers`` have lower-case names."""
        path = path.split("?")[0]
        try:
            asked = read_request(path, headers.get("content-type", ""), body)
        except ValueError as error:
            unread = Asked(path, {"unreadable": hashlib.sha256(body).hexdigest()}, "")
            return self._refuse(unread, headers, 400, f"The request cannot be read: {error}.")
        if METHODS.get(asked.endpoint) != method:
            return self._refuse(asked, headers, 404, f"The scripted model has no {method} {path}.")
        answer = Answered() if asked.endpoint == MODELS else self.script.answer(asked)
        if answer.fault == "status":
            return self._refuse(asked, headers, answer.status, None, answer)
        if answer.fault == "hang":
            return self._enter(asked, headers, 0, Rendered("text/plain", (), 0, 0), answer)
        return self._enter(asked, headers, 200, render(asked, answer), answer)

    def _refuse(
        self, asked: Asked, headers: Mapping[str, str], status: int, why: str | None, answer: Answered | None = None
    ) -> Decision:
        rendered = Rendered("application/json", (error_body(status, why),), 0, 0)
        return self._enter(asked, headers, status, rendered, answer or Answered(fault="status", status=status))

    def _enter(
        self, asked: Asked, headers: Mapping[str, str], status: int, rendered: Rendered, answer: Answered
    ) -> Decision:
        entry = BookEntry(
            at=time.time(),
            path=asked.path,
            model=asked.model,
            digest=asked.digest,
            idempotency_key=headers.get("idempotency-key"),
            authorized="authorization" in headers,
            status=status,
            input_tokens=rendered.input_tokens,
            output_tokens=rendered.output_tokens,
            paid=answer.is_paid and asked.endpoint != MODELS,
            delivered=answer.fault not in ("cut", "bad_json", "hang"),
        )
        self.books.enter(entry)
        return Decision(entry, status, rendered, answer)
