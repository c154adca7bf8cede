"""The books of a scripted model: every request that reached it, and what was paid for."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One request.

    ``at``: seconds since 1970. ``status``: 0 where none was answered (a hang). ``paid``: a complete 2xx answer
    was produced, so a provider would bill it. ``delivered``: it was sent whole, as far as the model can tell.
    """

    at: float
    path: str
    model: str | None
    digest: str
    idempotency_key: str | None
    authorized: bool
    status: int
    input_tokens: int
    output_tokens: int
    paid: bool
    delivered: bool
    id: str = field(default_factory=lambda: uuid4().hex)


class Books:
    """Entries in memory and, with a path, as JSON Lines that survive their process. Safe in many threads.

    Each line is appended by one write, so that several processes may share a file. An entry whose answer
    could not be sent after all is appended again, with ``delivered`` false; the later line counts.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = Path(path) if path is not None else None
        self._entries: dict[str, BookEntry] = {}
        self._lock = threading.Lock()

    def enter(self, entry: BookEntry) -> None:
        """Add an entry; with a path it has been written when this returns."""
        with self._lock:
            self._entries[entry.id] = entry
            if self._path is not None:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                try:
                    os.write(descriptor, (json.dumps(asdict(entry)) + "\n").encode())
                finally:
                    os.close(descriptor)

    def undelivered(self, entry: BookEntry) -> None:
        """Note that the answer of an entry did not get through."""
        if entry.delivered:
            self.enter(replace(entry, delivered=False))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Books:
        """The books that another process keeps; empty if there are none yet. A line half written is left out."""
        books, file = cls(), Path(path)
        known = {one.name for one in fields(BookEntry)}
        for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
            if line.strip() and line.endswith(b"\n"):
                told = {key: value for key, value in json.loads(line).items() if key in known}
                entry = BookEntry(**told)
                books._entries[entry.id] = entry
        return books

    def __iter__(self) -> Iterator[BookEntry]:
        with self._lock:
            return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def paid(self) -> list[BookEntry]:
        """The entries that cost money."""
        return [entry for entry in self if entry.paid]

    def paid_by_digest(self) -> Counter[str]:
        """How often each request was paid."""
        return Counter(entry.digest for entry in self.paid())

    def paid_by_key(self) -> Counter[str]:
        """How often each idempotency key was paid: more than once is a call paid twice."""
        return Counter(entry.idempotency_key or "" for entry in self.paid())

    def repeats(self) -> dict[tuple[str, str | None], int]:
        """Requests paid more than once under one idempotency key: ``{(digest, key): times}``."""
        counted = Counter((entry.digest, entry.idempotency_key) for entry in self.paid())
        return {key: count for key, count in counted.items() if count > 1}
