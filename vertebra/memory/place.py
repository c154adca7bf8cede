"""The place of a conversation: tenant, id and branch, of which every statement is bound to the first two."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.errors import UsageError
from vertebra.memory.records import MAIN

NAME_BYTES = 400
KEY_BYTES = 1000
"""An index entry of Postgres holds 2,704 bytes: tenant, conversation and key must fit in one."""

NO_TENANT = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a handle reads and writes."""

    tenant: str
    id: str
    branch: str = MAIN

    @property
    def scope(self) -> tuple[str, str]:
        """What every statement is bound to."""
        return self.tenant, self.id

    def on(self, branch: str) -> Place:
        """Another branch of the conversation."""
        return Place(self.tenant, self.id, branch)

    def lock(self, tx: Tx) -> None:
        """One writer a conversation, until the transaction ends."""
        tx.lock(_lock_name(*self.scope))


@functools.lru_cache(1024)
def _lock_name(*scope: str) -> str:
    return json.dumps(["vertebra memory", *scope])


@dataclass(frozen=True, slots=True)
class Whom:
    """A subject of a tenant."""

    tenant: str
    subject: str

    def lock(self, tx: Tx) -> None:
        """One writer a subject, of what is kept on subjects, until the transaction ends."""
        tx.lock(json.dumps(["vertebra memory subject", self.tenant, self.subject]))


def whom(subject: str, tenant: str | None) -> Whom:
    """Raises ``UsageError`` for what cannot be a name."""
    return Whom(tenant_of(tenant), name_of("subject", subject))


def place(id: str, tenant: str | None, branch: str) -> Place:
    """Raises ``UsageError`` for what cannot be a name."""
    return Place(tenant_of(tenant), name_of("conversation id", id), name_of("branch", branch))


def tenant_of(tenant: str | None) -> str:
    """None is a tenant of its own. An empty text is refused: it is what a lost tenant looks like."""
    return NO_TENANT if tenant is None else name_of("tenant", tenant)


def name_of(what: str, value: Any, limit_bytes: int = NAME_BYTES) -> str:
    """The value, if every database takes it as a name. Raises ``UsageError``."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{value!r} is no {what}.", remedy="pass a text that is not empty.")
    if _unstorable(value) or len(value.encode()) > limit_bytes:
        raise UsageError(
            f"{value[:60]!r} cannot be a {what}.",
            remedy=f"leave out NUL and halves of surrogate pairs, and keep it within {limit_bytes} bytes.",
        )
    return value


def text_of(what: str, value: str | None) -> str | None:
    """The value, of any length, if every database takes it. Raises ``UsageError``."""
    if value is not None and (not isinstance(value, str) or _unstorable(value)):
        raise UsageError(f"This cannot be a {what}.", remedy="pass a text without NUL and halves of surrogate pairs.")
    return value


def _unstorable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)
