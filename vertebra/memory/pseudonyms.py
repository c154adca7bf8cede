"""What stands in the place of a name that was forgotten: the same for the same name, and not the name."""

from __future__ import annotations

import hashlib

PREFIX = "forgotten:"


def pseudonym(name: str) -> str:
    """By it a subject that returns is told from others, and a key that was used stays used.

    A digest: whoever holds the database and guesses the name can confirm the guess.
    """
    if name.startswith(PREFIX):
        return name
    return PREFIX + hashlib.sha256(name.encode()).hexdigest()[:32]
