"""A search: by words, by meaning, and both rankings made one; every statement bound to one scope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vertebra.databases.database import Tx
from vertebra.errors import UsageError
from vertebra.memory.recall import backlog, kinds, lookup, nearest, vectors
from vertebra.memory.recall.embedders import Embedder, unit_vectors
from vertebra.memory.recall.lookup import Counts, Question
from vertebra.memory.recall.matrix import Matrices, Matrix
from vertebra.memory.recall.ranking import fused
from vertebra.memory.recall.scope import Scope
from vertebra.memory.recall.snippets import Snippet, snippet
from vertebra.memory.recall.steps import Beside, Reading, Steps
from vertebra.memory.recall.totals import Totals

Mode = Literal["both", "text", "vectors"]
Ranked = Sequence[tuple[int, float]]
"""Entries with their scores, best first."""

DEPTH = 100
"""So many of each ranking are fused, or twice the limit."""

AT_FIRST = 400


@dataclass(frozen=True, slots=True)
class Hit:
    """What was found, and why. ``id``: of the message, or what else ``kind`` says, within its conversation.

    ``score`` is the fused one; ``text_rank`` and ``vector_rank`` count from 1 and are None where it was not found so;
    ``text_score`` is its BM25, ``similarity`` its cosine. ``at`` is Unix seconds.
    """

    kind: str
    conversation: str
    branch: str
    id: int
    subject: str | None
    role: str
    at: float
    score: float
    text_rank: int | None
    text_score: float | None
    vector_rank: int | None
    similarity: float | None
    snippet: Snippet


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, best first. ``waiting``: entries of the tenant (or of the subject) without a vector yet; None if

    vectors were not asked for. ``mode``: what was done: ``text`` where ``both`` was asked for and there is no embedder.
    """

    hits: tuple[Hit, ...]
    mode: Mode
    waiting: int | None = None

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


class Searcher:
    """What the searches of an open memory share: what was counted and the vectors that were read."""

    def __init__(self, embedder: Embedder | None) -> None:
        self._embedder, self._matrices = embedder, Matrices()
        self._totals, self._counts = Totals(), Counts()

    def search(self, query: str, scope: Scope, limit: int, mode: Mode) -> Steps[SearchResult]:
        """Raises ``UsageError``, ``EmbedderMismatch``, ``EmbeddingInvalid`` and what the embedder raises."""
        embedder = None if mode == "text" else self._embedder
        if mode == "vectors" and embedder is None:
            raise UsageError(
                "This memory has no embedder.", remedy="open_memory(url, embedder=...), or search with mode='text'."
            )
        mode = "text" if embedder is None else mode
        depth = max(DEPTH, 2 * limit)
        yield from backlog.take_in(scope.tenant)
        if not query.strip() or not limit:
            return SearchResult((), mode)
        question, by_words = Question((), 0, 0.0), []
        if mode != "vectors":
            question, by_words = yield Reading(lambda tx: self._by_words(tx, scope, query, depth))
        by_meaning: Ranked = []
        waiting = None
        if embedder is not None:
            by_meaning, waiting = yield from self._by_meaning(embedder, scope, query, depth)
        if mode == "vectors":
            # To mark what was asked for in the snippets.
            question = yield Reading(lambda tx: self._question(tx, scope, query))
        hits = yield Reading(lambda tx: _hits(tx, scope, question, by_words, by_meaning, limit))
        return SearchResult(hits, mode, waiting)

    def _question(self, tx: Tx, scope: Scope, query: str) -> Question:
        return lookup.read(tx, scope.tenant, query, self._totals.of(tx, scope.tenant), self._counts)

    def _by_words(self, tx: Tx, scope: Scope, query: str, depth: int) -> tuple[Question, Ranked]:
        question = self._question(tx, scope, query)
        return question, lookup.best(tx, scope, question, depth)

    def _by_meaning(self, embedder: Embedder, scope: Scope, query: str, depth: int) -> Steps[tuple[Ranked, int]]:
        vector = (yield Beside(lambda: unit_vectors(embedder, [query])))[0]
        found, waiting = yield Reading(lambda tx: self._vectors(tx, embedder, scope, vector, depth))
        if not isinstance(found, Matrix):
            return found, waiting
        cosines = yield Beside(lambda: found.cosines(vector))
        if not scope.is_narrow:
            # Whether they are still there is asked by `_hits`.
            return (yield Beside(lambda: found.nearest(cosines, depth))), waiting
        wanted = max(AT_FIRST, depth)
        near = yield Beside(lambda: found.nearest(cosines, wanted))
        within = yield Reading(lambda tx: nearest.entries_within(tx, scope, [entry for entry, _ in near]))
        if len(within) < depth and len(near) == wanted:
            within = yield Reading(lambda tx: nearest.entries_within(tx, scope))
            near = yield Beside(lambda: found.nearest(cosines, depth, list(within)))
        return [(entry, cosine) for entry, cosine in near if entry in within][:depth], waiting

    def _vectors(
        self, tx: Tx, embedder: Embedder, scope: Scope, vector: Any, depth: int
    ) -> tuple[Matrix | Ranked, int]:
        found: Matrix | Ranked
        if nearest.has_pgvector(tx):
            there = vectors.space(tx, scope.tenant, embedder) is not None
            found = nearest.in_database(tx, scope, embedder, vector, depth) if there else []
            done = vectors.count(tx, scope.tenant, embedder)
        else:
            found = self._matrices.read(tx, scope.tenant, embedder) or []
            done = len(found)
        if scope.subject is not None:
            waiting = vectors.waiting_of(tx, scope.tenant, scope.subject, embedder)
        else:
            waiting = self._totals.of(tx, scope.tenant).entries - done
        if waiting:
            vectors.require_comparable(tx, scope.tenant, embedder)
        return found, waiting


def _hits(
    tx: Tx, scope: Scope, question: Question, by_words: Ranked, by_meaning: Ranked, limit: int
) -> tuple[Hit, ...]:
    words = {entry: (rank, score) for rank, (entry, score) in enumerate(by_words, 1)}
    meanings = {entry: (rank, score) for rank, (entry, score) in enumerate(by_meaning, 1)}
    # Beside meanings, words that are in many entries, or some of many words, are little to go by.
    shares = {entry: question.share(score) for entry, score in by_words} if by_meaning else None
    scores = fused([entry for entry, _ in by_words], [entry for entry, _ in by_meaning], shares=shares)
    chosen = list(scores)[: limit + limit // 2]  # some may be gone since they were ranked
    where, values = scope.where()
    rows = tx.all(
        "SELECT e.entry, e.kind, e.conversation, e.number, e.branch, e.role, e.at, c.subject "
        "FROM vertebra_memory_entries e LEFT JOIN vertebra_memory_conversations c "
        f"ON c.tenant = e.tenant AND c.id = e.conversation WHERE {where} "
        f"AND e.entry IN ({', '.join('?' * len(chosen))})",
        *(*values, *chosen),
    ) if chosen else []  # fmt: skip
    known = {int(row[0]): row[1:] for row in rows}
    kept = [entry for entry in chosen if entry in known][:limit]
    found = kinds.texts(tx, scope.tenant, [(known[e][0], known[e][1], int(known[e][2])) for e in kept])
    hits = []
    for entry, text in zip(kept, found, strict=True):
        kind, conversation, number, branch, role, at, subject = known[entry]
        text_rank, text_score = words.get(entry, (None, None))
        vector_rank, similarity = meanings.get(entry, (None, None))
        hits.append(
            Hit(
                *(kind, conversation, branch, int(number), subject, role, float(at), scores[entry]),
                *(text_rank, text_score, vector_rank, similarity, snippet(text or "", question.asked)),
            )
        )
    return tuple(hits)
