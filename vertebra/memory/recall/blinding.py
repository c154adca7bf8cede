"""Blind terms: the index of a sealed memory has keyed digests in the place of words.

Who reads the database sees which entries of one tenant have a term in common and how often each has it; not which
term, nor in which order, nor whether another tenant has it, too. A digest cannot be looked for by its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.databases.sealing import Seals
from vertebra.memory.recall.terms import TERMS_BYTES, terms_of

LETTERS = 16
"""Of a digest in hexadecimal: 64 bits, so that among a million terms two are one by chance once in 10^7 memories."""


def indexed(seals: Seals, tenant: str, text: str) -> list[str]:
    """The terms of a text as the index has them."""
    terms = terms_of(text)
    if not seals.on:
        return terms
    terms = terms[: TERMS_BYTES // (LETTERS + 1)]
    digests: Mapping[str, str | None] = {term: blind(seals, tenant, term) for term in set(terms)}
    return sorted(digests[term] or "" for term in terms)  # sorted: the order of words says much of what was said


def blind(seals: Seals, tenant: str, term: str) -> str | None:
    """A term as the index of a sealed memory has it; None where it stands as it is."""
    return seals.digest(term, "vertebra_memory_terms", "term", tenant)[:LETTERS] if seals.on else None
