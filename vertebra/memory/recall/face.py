"""The face of recall: what an open memory offers to find again what was said."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import get_args

from vertebra.databases.database import Database
from vertebra.errors import UsageError
from vertebra.memory.messages import Role
from vertebra.memory.place import name_of, tenant_of
from vertebra.memory.recall import pending, steps
from vertebra.memory.recall.embedders import Embedder
from vertebra.memory.recall.kinds import KINDS
from vertebra.memory.recall.pending import Embedded
from vertebra.memory.recall.scope import Scope, names, seconds
from vertebra.memory.recall.searching import Mode, Searcher, SearchResult

LIMIT = 1_000
BATCH = 64


class Recalling:
    """A part of ``Memory``."""

    embedder: Embedder | None
    _database: Database
    _searcher: Searcher

    async def search(
        self,
        query: str,
        *,
        tenant: str | None = None,
        subject: str | None = None,
        conversation: str | None = None,
        roles: Iterable[str] = (),
        tags: Iterable[str] = (),
        kinds: Iterable[str] = (),
        since: float | datetime | None = None,
        until: float | datetime | None = None,
        limit: int = 10,
        mode: Mode = "both",
    ) -> SearchResult:
        """What was said that answers a question, best first: by its words, by its meaning, or by ``both``.

        ``query`` is plain text: nothing in it is an operator. Of all branches; ``subject``, ``conversation``, any of
        ``roles`` and ``kinds``, all of ``tags`` (of the conversation), and times in [``since``, ``until``) bound it.
        ``both`` is ``text`` where the memory has no embedder. Only ``both`` and ``vectors`` call the embedder, once.
        Raises ``UsageError``, ``EmbedderMismatch``, ``EmbeddingInvalid``, ``MissingExtra``; what the embedder raises.

        Example::

            for hit in await memory.search("what did he say of his cough?", subject="patient-7"):
                print(hit.conversation, hit.id, hit.snippet)
        """
        scope = _scope(tenant, subject, conversation, roles, tags, kinds, since, until)
        found = self._searcher.search(_text(query), scope, _limit(limit), _mode(mode))
        return await steps.run(self._database, found)

    def search_sync(
        self,
        query: str,
        *,
        tenant: str | None = None,
        subject: str | None = None,
        conversation: str | None = None,
        roles: Iterable[str] = (),
        tags: Iterable[str] = (),
        kinds: Iterable[str] = (),
        since: float | datetime | None = None,
        until: float | datetime | None = None,
        limit: int = 10,
        mode: Mode = "both",
    ) -> SearchResult:
        """``search`` for sync code."""
        scope = _scope(tenant, subject, conversation, roles, tags, kinds, since, until)
        found = self._searcher.search(_text(query), scope, _limit(limit), _mode(mode))
        return steps.run_sync(self._database, found)

    async def embed_pending(
        self, *, tenant: str | None = None, limit: int | None = None, batch: int = BATCH, drop_others: bool = False
    ) -> Embedded:
        """Make the vectors that a tenant's entries lack, ``batch`` texts a call of the embedder; the counts.

        Safe to kill, to repeat, and to run by several processes at once: a batch is kept when it is made, and each
        text is given to one of them. ``limit``: at most so many now. ``drop_others``: when none is lacking, remove the
        vectors of other embedders. Raises ``UsageError`` without an embedder, and as ``search`` does.
        """
        work = pending.embed(tenant_of(tenant), self._required(limit, batch), limit, batch, drop_others)
        return await steps.run(self._database, work)

    def embed_pending_sync(
        self, *, tenant: str | None = None, limit: int | None = None, batch: int = BATCH, drop_others: bool = False
    ) -> Embedded:
        """``embed_pending`` for sync code."""
        work = pending.embed(tenant_of(tenant), self._required(limit, batch), limit, batch, drop_others)
        return steps.run_sync(self._database, work)

    def _required(self, limit: int | None, batch: int) -> Embedder:
        if self.embedder is None:
            raise UsageError("This memory has no embedder.", remedy="open_memory(url, embedder=...).")
        if batch < 1 or (limit is not None and limit < 0):
            raise UsageError(
                f"batch={batch}, limit={limit} is no number of texts.", remedy="pass batch=64, limit=None."
            )
        return self.embedder


def _scope(
    tenant: str | None,
    subject: str | None,
    conversation: str | None,
    roles: Iterable[str],
    tags: Iterable[str],
    kinds: Iterable[str],
    since: float | datetime | None,
    until: float | datetime | None,
) -> Scope:
    scope = Scope(
        tenant_of(tenant),
        None if subject is None else name_of("subject", subject),
        None if conversation is None else name_of("conversation id", conversation),
        names("roles", roles),
        tuple(name_of("tag", tag) for tag in names("tags", tags)),
        seconds("since", since),
        seconds("until", until),
        names("kinds", kinds),
    )
    for what, given, known in (("role", scope.roles, get_args(Role)), ("kind", scope.kinds, tuple(KINDS))):
        for name in given:
            if name not in known:
                raise UsageError(f"{name!r} is no {what} of an entry.", remedy=f"known: {', '.join(known)}.")
    return scope


def _text(query: str) -> str:
    if not isinstance(query, str):
        raise UsageError(f"A query of type {type(query).__name__} is no text.", remedy="pass a str.")
    # Halves of surrogate pairs and NUL are in no text that is kept.
    return query.encode("utf-8", "replace").decode().replace("\0", " ")


def _limit(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= LIMIT:
        raise UsageError(f"limit={limit!r} is no number of hits.", remedy=f"pass 0 to {LIMIT}.")
    return limit


def _mode(mode: Mode) -> Mode:
    if mode not in get_args(Mode):
        raise UsageError(f"mode={mode!r} is unknown.", remedy=f"known: {', '.join(get_args(Mode))}.")
    return mode
