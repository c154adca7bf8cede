"""The JSON Lines of an export: a line for each conversation, each followed by its branches and messages; then the rest.

Format 2 has facts, holds, receipts, items, time to live and tombstones; 1, which had none of them, is still read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from vertebra.errors import ExportInvalid, UsageError
from vertebra.memory.item_lines import ItemLine
from vertebra.memory.known_lines import Batch, FactLine, HoldLine, Known, Line, ReceiptLine
from vertebra.memory.messages import ChatMessage, canonical
from vertebra.memory.place import KEY_BYTES, name_of, text_of
from vertebra.memory.records import MAIN, Branch, ConversationRecord, Message, Provenance
from vertebra.memory.summarising import Summary

BATCH = 500


class ConversationLine(Line):
    """The head of a conversation: how many branches and messages follow. No tenant: the importer names it."""

    type: Literal["conversation"] = "conversation"
    format: Literal[1, 2] = 2
    id: str
    subject: str | None
    title: str | None
    tags: tuple[str, ...]
    branches: int
    messages: int
    created_at: float
    updated_at: float
    ttl_s: Annotated[float, Field(ge=0)] | None = None


class BranchLine(Line):
    """A branch, after its parent."""

    type: Literal["branch"] = "branch"
    name: str
    parent: str | None
    at: int
    created_at: float


class MessageLine(Line):
    """A message, in the order of ids, which are 1, 2, 3 ... without a gap."""

    type: Literal["message"] = "message"
    id: int
    branch: str
    message: ChatMessage
    at: float
    key: str | None
    tokens: Annotated[int, Field(ge=0)] | None
    provenance: Provenance
    forgotten_at: float | None = None
    pinned: bool = False


class SummaryLine(Line):
    """A summary of a branch, before the messages. Exports of earlier releases have none."""

    type: Literal["summary"] = "summary"
    branch: str
    first: int
    upto: int
    text: str
    at: float
    provenance: Provenance


AnyLine = ConversationLine | BranchLine | SummaryLine | MessageLine | FactLine | HoldLine | ReceiptLine | ItemLine
_ANY: TypeAdapter[AnyLine] = TypeAdapter(Annotated[AnyLine, Field(discriminator="type")])


@dataclass
class Carried:
    """A conversation on its way from one database to another."""

    head: ConversationLine
    branches: list[Branch] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)


def head_line(record: ConversationRecord, branches: int) -> str:
    """The first line of a conversation."""
    return canonical(ConversationLine(branches=branches, **asdict(record)).model_dump(mode="json"))


def branch_line(branch: Branch) -> str:
    """The line of a branch."""
    return canonical(BranchLine(**asdict(branch)).model_dump(mode="json"))


def summary_line(summary: Summary) -> str:
    """The line of a summary."""
    carried = {name: value for name, value in asdict(summary).items() if name != "id"}
    return canonical(SummaryLine(**carried).model_dump(mode="json"))


def message_line(message: Message) -> str:
    """The line of a message."""
    return canonical(
        {
            "type": "message",
            "id": message.id,
            "branch": message.branch,
            "message": message.to_openai(),
            "at": message.at,
            "key": message.key,
            "tokens": message.tokens,
            "provenance": asdict(message.provenance),
            "forgotten_at": message.forgotten_at,
            **({"pinned": True} if message.pinned else {}),
        }
    )


def read_lines(lines: Iterable[str]) -> Iterator[Carried | Batch]:
    """Each conversation once it is whole, and the rest in batches. Raises ``ExportInvalid`` with the line's number."""
    carried: Carried | None = None
    batch = Batch()
    number = 0
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        line = _read(text, number)
        if not isinstance(line, BranchLine | SummaryLine | MessageLine) and carried is not None:
            yield _whole(carried, number)
            carried = None
        if isinstance(line, FactLine | HoldLine | ReceiptLine | ItemLine):
            item = _known(line, number)
            if batch.items and not batch.takes(item, BATCH):
                yield batch
                batch = Batch()
            batch.items.append(item)
        elif isinstance(line, ConversationLine):
            carried = Carried(line)
        elif carried is None:
            raise _invalid(number, f"a {line.type} before any conversation")
        elif isinstance(line, BranchLine):
            _add_branch(carried, line, number)
        elif isinstance(line, SummaryLine):
            _add_summary(carried, line, number)
        else:
            _add_message(carried, line, number)
    if carried is not None:
        yield _whole(carried, number)
    if batch.items:
        yield batch


def _known(line: FactLine | HoldLine | ReceiptLine | ItemLine, number: int) -> Known:
    try:
        return line.known()
    except (UsageError, ValueError) as error:
        raise _invalid(number, str(error).partition(" To go on")[0]) from None


def _read(text: str, number: int) -> AnyLine:
    try:
        line = _ANY.validate_json(text)
        if isinstance(line, ConversationLine):
            name_of("conversation id", line.id)
            text_of("title", line.title)
            for what, names in (("tag", line.tags), ("subject", () if line.subject is None else (line.subject,))):
                for name in names:
                    name_of(what, name)
        elif isinstance(line, BranchLine):
            name_of("branch", line.name)
        elif isinstance(line, SummaryLine):
            text_of("summary", line.text)
        elif isinstance(line, MessageLine):
            if line.key is not None:
                name_of("key", line.key, KEY_BYTES)
            line.message.to_json().encode()
        return line
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise _invalid(number, f"{where}: {first['msg']}") from None
    except (UsageError, ValueError) as error:
        raise _invalid(number, str(error).partition(" To go on")[0]) from None


def _add_branch(carried: Carried, line: BranchLine, number: int) -> None:
    known = {branch.name for branch in carried.branches}
    is_main = line.name == MAIN and line.parent is None and line.at == 0
    if line.name in known or not (is_main or (line.parent in known and line.at >= (line.parent != MAIN))):
        raise _invalid(number, f"branch {line.name!r} has no place here")
    carried.branches.append(Branch(line.name, line.parent, line.at, line.created_at))


def _add_summary(carried: Carried, line: SummaryLine, number: int) -> None:
    is_there = any((summary.branch, summary.upto) == (line.branch, line.upto) for summary in carried.summaries)
    known = {branch.name for branch in carried.branches}
    if is_there or line.branch not in known or not 1 <= line.first <= line.upto <= carried.head.messages:
        raise _invalid(number, f"a summary of branch {line.branch!r} has no place here")
    carried.summaries.append(Summary(line.branch, line.first, line.upto, line.text, line.at, line.provenance))


def _add_message(carried: Carried, line: MessageLine, number: int) -> None:
    begins = {branch.name: branch.at for branch in carried.branches}
    if line.id != len(carried.messages) + 1 or line.id <= begins.get(line.branch, line.id):
        raise _invalid(number, f"message {line.id} on branch {line.branch!r} has no place here")
    carried.messages.append(
        Message(
            line.id,
            line.branch,
            line.message,
            line.at,
            line.key,
            line.tokens,
            line.provenance,
            line.forgotten_at,
            line.pinned,
        )
    )


def _whole(carried: Carried, number: int) -> Carried:
    head, keys = carried.head, [message.key for message in carried.messages if message.key is not None]
    if (len(carried.branches), len(carried.messages)) != (head.branches, head.messages):
        raise _invalid(number, f"conversation {head.id!r} is cut off")
    on = {message.id: message.branch for message in carried.messages}
    if any(branch.at and on.get(branch.at) != branch.parent for branch in carried.branches):
        raise _invalid(number, f"conversation {head.id!r} has a branch that begins nowhere")
    if MAIN not in {branch.name for branch in carried.branches} or len(keys) != len(set(keys)):
        raise _invalid(number, f"conversation {head.id!r} has no main branch, or a key twice")
    return carried


def _invalid(number: int, reason: str) -> ExportInvalid:
    return ExportInvalid(f"Line {number} is of no export: {reason}.", line=number)
