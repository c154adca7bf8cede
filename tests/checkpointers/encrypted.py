"""What tests of encryption are made of: keys, a graph that puts a word everywhere, a search of a database for it."""

from __future__ import annotations

import base64
import re
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Question, Retry, effect, human, llm, transition
from vertebra.databases.url import StoreUrl
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel

WORD = "asthmatic"
"""What must not be read in a database, of any case."""


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Diagnosis(BaseModel):
    text: str


class Visit(BaseModel):
    text: str
    short: str = ""
    notes: Append[str] = []
    diagnosis: Diagnosis | None = None
    counts: dict[str, int] = {}
    answer: str = ""
    sent: str = ""


def graph(version: str = "1") -> Graph:
    @transition
    def cut(visit: Visit, ctx: Context) -> dict[str, object]:
        assert ctx.uuid()
        notes = [f"{WORD} note {number}" for number in range(40)]
        return {"notes": notes, "counts": {WORD: 1}, "short": WORD, "diagnosis": Diagnosis(text=WORD)}

    @llm(task="draft", retry=Retry(attempts=2, wait_initial_s=0.01, jitter_s=0, fresh=(ValueError,)))
    async def draft(visit: Visit, ctx: Context) -> dict[str, object]:
        reply = await ctx.client.chat.completions.create(
            model=ctx.model, messages=[{"role": "user", "content": f"Is he {WORD}?"}]
        )
        return {"notes": [str(reply.choices[0].message.content)]}

    @human(answer=str, into="answer")
    def approve(visit: Visit) -> Question:
        return Question(f"Is he really {WORD}?", data={"notes": [WORD]})

    @effect
    def send(visit: Visit) -> dict[str, object]:
        if visit.sent == "":
            raise ValueError(f"no address of an {WORD} one")
        return {"sent": WORD}

    g = Graph(Visit, name="scribe", version=version)
    g.add_edge(START, cut)
    g.add_edge(cut, draft)
    g.add_edge(draft, approve)
    g.add_edge(approve, send)
    g.add_edge(send, END)
    return g


async def live(app: App, thread: str = "t") -> None:
    """Run a thread through a question and a failure, and mend it by hand."""
    run = await app.run({"text": f"An {WORD} patient"}, thread_id=thread)
    assert run.status == "interrupted", run.error
    run = await app.resume(thread, f"Yes, {WORD}")
    assert run.status == "failed"
    assert WORD in str(run.error)


async def mend(app: App, thread: str = "t") -> Any:
    run = await app.resume(thread, skip="send", update={"sent": WORD})
    assert run.status == "done", run.error
    return run.output


def answering(model: ScriptedModel) -> ScriptedModel:
    model.on(WORD).reply(f"He is {WORD}.")
    return model


def columns_with(url: str, word: str = WORD) -> set[str]:
    """The columns, as table.column, in which a word or its base64 is found."""
    parsed = StoreUrl.parse(url)
    wanted = _forms(word)
    found = set()
    for table, column, value in _values(parsed):
        text = value if isinstance(value, bytes) else str(value).encode()
        if wanted.search(text):
            found.add(f"{table}.{column}")
    if parsed.backend == "sqlite":
        for path in (Path(parsed.path), Path(f"{parsed.path}-wal")):
            if path.exists() and wanted.search(path.read_bytes()):
                found.add("the file")
    return found


def _forms(word: str) -> re.Pattern[bytes]:
    """The word in any case, or in base64 wherever in a text it begins."""
    plain = word.encode()
    # What depends on the bytes before and after is cut off.
    shifted = [base64.b64encode(b"." * pad + plain)[pad and 4 : -4].rstrip(b"=") for pad in range(3)]
    return re.compile(b"(?i:%s)|%s" % (re.escape(plain), b"|".join(map(re.escape, shifted))))


def _values(url: StoreUrl) -> list[tuple[str, str, Any]]:
    if url.backend == "sqlite":
        with closing(sqlite3.connect(url.path)) as connection:
            # What a virtual table keeps lies in tables beside it.
            names = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage <> 0"
            tables = [row[0] for row in connection.execute(names)]
            return [
                (table, name, value)
                for table in tables
                for cursor in [connection.execute(f'SELECT * FROM "{table}"')]
                for row in cursor.fetchall()
                for (name, *_), value in zip(cursor.description, row, strict=True)
            ]
    with psycopg.connect(url.dsn) as postgres:
        names = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return [
            (table, column.name, value)
            for (table,) in names
            for rows in [postgres.execute(f'SELECT * FROM "{table}"')]
            for row in rows.fetchall()
            for column, value in zip(rows.description or (), row, strict=True)
        ]


def execute(url: str, sql: str, *args: Any) -> list[Any]:
    """A statement of whoever can write to the database, with ``?`` for arguments; the rows it returns."""
    parsed = StoreUrl.parse(url)
    if parsed.backend == "sqlite":
        with closing(sqlite3.connect(parsed.path, isolation_level=None)) as connection:
            return connection.execute(sql, args).fetchall()
    with psycopg.connect(parsed.dsn, autocommit=True) as postgres:
        cursor = postgres.execute(sql.replace("?", "%s"), args)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []
