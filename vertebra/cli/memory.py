"""What each subcommand of ``vertebra memory`` does."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from vertebra.cli.embedding import embed, embedder_of
from vertebra.cli.keeping import ACTIONS
from vertebra.cli.loading import encryption_key
from vertebra.cli.printing import counted
from vertebra.cli.rekeying import rekey_memory, require_memory
from vertebra.cli.searching import search
from vertebra.cli.terminal import Terminal, ago, clean, clock, fit
from vertebra.databases import StoreUrl
from vertebra.errors import StoreUnavailable, UsageError
from vertebra.memory import Branch, ConversationRecord, Memory, Message, open_memory


def execute(options: argparse.Namespace) -> int:
    """Run the subcommand that was parsed; returns the exit code."""
    actions = {"ls": _ls, "show": _show, "search": search, "embed": embed, "export": _export, "import": _import}
    action = {**actions, **ACTIONS, "rekey": rekey_memory}[options.action]
    embedder = embedder_of(getattr(options, "embedder", None))
    _require(options.memory, make=options.action == "import")
    if options.action == "rekey":
        require_memory(options.memory)
    with open_memory(options.memory, embedder=embedder, encryption=encryption_key()) as memory:
        action(memory, options)
    return 0


def _require(url: str, *, make: bool) -> None:
    """Refuse a database that is not there; only an import makes one. Raises ``StoreError``, ``UsageError``."""
    parsed = StoreUrl.parse(url)
    if parsed.backend == "memory":
        raise UsageError("memory:// ends with each command.", remedy="name a database with --memory.")
    if parsed.backend == "sqlite" and not make and not Path(parsed.path).exists():
        raise StoreUnavailable(
            f"There is no database {parsed.path!r}.", remedy="name it with --memory, or set VERTEBRA_MEMORY."
        )


def conversation_data(record: ConversationRecord) -> dict[str, Any]:
    """A conversation, for ``--json``; times are Unix seconds."""
    return {**asdict(record), "tags": list(record.tags)}


def branch_data(branch: Branch) -> dict[str, Any]:
    """A branch, for ``--json``."""
    return asdict(branch)


def message_data(message: Message) -> dict[str, Any]:
    """A message, for ``--json``: as the API takes it under ``message``, and what is known of it."""
    return {
        "id": message.id,
        "branch": message.branch,
        "at": message.at,
        "key": message.key,
        "tokens": message.tokens,
        "provenance": asdict(message.provenance),
        "forgotten_at": message.forgotten_at,
        "message": message.to_openai(),
    }


def _ls(memory: Memory, options: argparse.Namespace) -> None:
    records = memory.conversations_sync(
        tenant=options.tenant, subject=options.subject, tags=options.tag or (), limit=options.limit
    )
    if options.json:
        print(json.dumps([conversation_data(record) for record in records]))
        return
    now = time.time()
    rows = [
        (
            *(record.id, record.subject or "", str(record.messages), ago(now - record.updated_at)),
            *(", ".join(record.tags), record.title or ""),
        )
        for record in records
    ]
    terminal = Terminal.of(sys.stdout)
    if rows:
        print("\n".join(terminal.table(("CONVERSATION", "SUBJECT", "MESSAGES", "UPDATED", "TAGS", "TITLE"), rows)))
    print(f"{counted(len(rows), 'conversation')}.")


def _show(memory: Memory, options: argparse.Namespace) -> None:
    conversation = memory.conversation(options.conversation, tenant=options.tenant, branch=options.branch)
    record, branches = conversation.record_sync(), conversation.branches_sync()
    messages = conversation.messages_sync(last=options.last)
    if options.json:
        data = {
            "conversation": conversation_data(record),
            "branches": [branch_data(branch) for branch in branches],
            "messages": [message_data(message) for message in messages],
        }
        print(json.dumps(data))
        return
    for line in _text(record, branches, messages, options.branch, Terminal.of(sys.stdout)):
        print(line)


def _text(
    record: ConversationRecord, branches: list[Branch], messages: list[Message], shown: str, terminal: Terminal
) -> Iterator[str]:
    title = f": {record.title}" if record.title else ""
    yield terminal.line(f"conversation {record.id}{title}")
    subject = f"with {record.subject}, " if record.subject else ""
    tags = f"; {', '.join(record.tags)}" if record.tags else ""
    yield terminal.line(f"{subject}begun {clock(record.created_at)}, updated {clock(record.updated_at)}{tags}", 2)
    for branch in branches:
        if branch.parent is not None:
            yield terminal.line(f"branch {branch.name}, from {branch.parent} after message {branch.at}", 2)
    for message in messages:
        name = f" {message.chat.name}" if message.chat.name else ""
        made = f"  {message.provenance.node}" if message.provenance.node else ""
        head = clean(f"{message.id:>4} {message.role}{name}  {clock(message.at)}{made}")
        yield terminal.paint(fit(head, terminal.width), "bold")
        yield from terminal.wrapped(_body(message), 5)
    yield f"{counted(len(messages), 'message')} of branch {clean(shown)}."


def _body(message: Message) -> str:
    parts = [] if isinstance(message.content, str) else message.content or ()
    others = [f"[{part.type}]" for part in parts if part.type != "text"]
    calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls if call.function]
    return "\n".join(text for text in (message.text, *others, *calls) if text)


def _export(memory: Memory, options: argparse.Namespace) -> None:
    found = memory.export_lines_sync(tenant=options.tenant, subject=options.subject, conversation=options.conversation)
    # In ASCII: nothing in it steers a terminal, and no encoding of a terminal spoils it.
    lines = (json.dumps(json.loads(line), separators=(",", ":")) for line in found)
    if options.out is None:
        if options.json:
            print("[" + ",\n".join(lines) + "]")
        else:
            for line in lines:
                print(line)
        return
    kinds = ("conversations", "messages", "facts", "holds", "receipts", "items")
    data = {**dict.fromkeys(kinds, 0), "file": options.out}
    with _replacing(Path(options.out)) as file:
        for line in lines:
            kind = f"{json.loads(line)['type']}s"
            if kind in kinds:
                data[kind] += 1
            file.write(f"{line}\n")
    _tell(f"written to {options.out}", data, options)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A file that takes its name when it is whole. Raises ``UsageError`` where it cannot be written."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="ascii") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error}.", remedy="name another file.") from error
    finally:
        part.unlink(missing_ok=True)


def _import(memory: Memory, options: argparse.Namespace) -> None:
    with _reading(options.file) as lines:
        imported = memory.import_lines_sync(lines, tenant=options.tenant)
    there = f", {imported.unchanged} were there already" if imported.unchanged else ""
    _tell(f"imported{there}", asdict(imported), options)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[Iterable[str]]:
    try:
        if name == "-":
            yield sys.stdin
        else:
            with open(name, encoding="utf-8") as file:
                yield file
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name!r} cannot be read: {error}.", remedy="name a file of JSON Lines.") from error


def _tell(what: str, data: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(data))
    else:
        kinds = ("conversation", "message", "fact", "hold", "receipt", "item")
        told = [counted(data[f"{kind}s"], kind) for kind in kinds if data[f"{kind}s"] or kind in kinds[:2]]
        print(clean(f"{', '.join(told)} {what}."))
