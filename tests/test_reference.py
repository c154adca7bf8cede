"""The reference lists what the code has: every public name, signature, option, exit code and variable, and no other."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vertebra.cli.differing import diff_data
from vertebra.cli.embedding import embedded_data
from vertebra.cli.histories import edge_data, tree_data
from vertebra.cli.keeping import fact_data, hold_data, receipt_data
from vertebra.cli.looking import proof_data
from vertebra.cli.main import EXIT_CODES, exit_code, parser
from vertebra.cli.memory import branch_data, conversation_data, message_data
from vertebra.cli.printing import call_data, finding_data, run_data, thread_data
from vertebra.cli.pruning import pruned_data
from vertebra.cli.rekeying import Rekeyed, rekeyed_data
from vertebra.cli.searching import hit_data
from vertebra.cli.verifications import difference_data, verification_data
from vertebra.errors import VertebraError
from vertebra.graphs.proofs import Proof
from vertebra.memory import (
    Branch,
    ChatMessage,
    ConversationRecord,
    Embedded,
    Expired,
    Fact,
    Hit,
    Hold,
    Imported,
    Message,
    Receipt,
    Snippet,
)
from vertebra.runtime import events
from vertebra.testing.script import Rule
from vertebra.types import (
    CallKey,
    CallRecord,
    Difference,
    Edge,
    Finding,
    Pruned,
    Run,
    ThreadRecord,
    ThreadTree,
    Verification,
)

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "reference" / "api.md").read_text()
CLI = (ROOT / "docs" / "reference" / "cli.md").read_text()

INTERNAL = {
    "App": {
        *("active", "control", "definition", "heart", "output_of", "pack", "public_channels"),
        *("read_input", "require_open", "services", "shape", "spec_of", "unpack"),
    },
    "Graph": {"definition"},
    "Approval": {"model_config"},
    "Memory": {"database"},
}
"""What the rooms of the runtime call on each other; no user has a reason to."""

MADE_FOR_THE_USER = {"App", "Context", "Conversation", "Facts", "Rule", "Stopped"}
"""Never constructed by hand, so the reference shows no arguments."""


@dataclass
class Entry:
    """A name as the reference has it, with its members if it is a class."""

    signature: str
    members: dict[str, str] = field(default_factory=dict)

    @property
    def is_class(self) -> bool:
        return self.signature.startswith("class ")


def listed() -> dict[str, dict[str, Entry]]:
    """Module to name to entry."""
    found: dict[str, dict[str, Entry]] = {}
    module: dict[str, Entry] = {}
    entry = Entry("")
    for line in API.splitlines():
        if match := re.fullmatch(r"## `(.+)`", line):
            module = found.setdefault(match[1], {})
        elif match := re.fullmatch(r"### `(.+)`", line):
            entry = module[_name(match[1])] = Entry(match[1])
        elif match := re.match(r"- `([^`]+)`: \S", line):
            assert _name(match[1]) not in entry.members, line
            entry.members[_name(match[1])] = match[1]
    return found


def _name(signature: str) -> str:
    return signature.removeprefix("class ").removeprefix("async ").split("(")[0]


LISTED = listed()


def public_names(module: str) -> dict[str, Any]:
    if module == "vertebra.runtime.events":
        return {k: v for k, v in vars(events).items() if inspect.isclass(v) and issubclass(v, events.Event)}
    home = importlib.import_module(module)
    elsewhere = public_names("vertebra") if module == "vertebra.graphs" else {}
    names = {name: getattr(home, name) for name in home.__all__ if name not in elsewhere}
    return names | ({"Rule": Rule} if module == "vertebra.testing" else {})


MODULES = ["vertebra", "vertebra.graphs", "vertebra.memory", "vertebra.testing", "vertebra.runtime.events"]
NAMES = [(module, name) for module in MODULES for name in public_names(module)]


def members(kind: type[Any]) -> dict[str, Any]:
    """The public members that a class has of ours, fields and annotated attributes among them."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("vertebra"):
            found.update({k: inspect.getattr_static(kind, k) for k in vars(base) if not k.startswith("_")})
            found.update({k: None for k in vars(base).get("__annotations__", {}) if not k.startswith("_")})
    if not dataclasses.is_dataclass(kind) and "__init__" in vars(kind):
        source = inspect.getsource(kind.__init__)
        found.update(dict.fromkeys(re.findall(r"self\.([a-z]\w*)(?:: [^=]+)? = ", source)))
    return {k: v for k, v in found.items() if k not in INTERNAL.get(kind.__name__, ())}


def parameters(signature: str) -> list[tuple[str, str, Any]]:
    """Name, kind and default of each parameter that the reference shows."""
    text = signature.removeprefix("class ").removeprefix("async ")
    (function,) = ast.parse(f"def {text}: ...").body
    assert isinstance(function, ast.FunctionDef)
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    found = [(p.arg, "positional", _shown(d)) for p, d in zip(positional, defaults, strict=True)]
    found += [(a.vararg.arg, "*", _NONE)] if a.vararg else []
    found += [(p.arg, "keyword", _shown(d)) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    found += [(a.kwarg.arg, "**", _NONE)] if a.kwarg else []
    return found


_NONE: Any = "no default"
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def _shown(default: ast.expr | None) -> Any:
    if isinstance(default, ast.Name):
        return default.id
    return _NONE if default is None else ast.literal_eval(default)


def real_parameters(function: Any) -> list[tuple[str, str, Any]]:
    signature = inspect.signature(function)
    found = [(p.name, _KINDS[p.kind], p.default) for p in signature.parameters.values() if p.name != "self"]
    return [(name, kind, _plain(default)) for name, kind, default in found]


def _plain(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return _NONE
    if isinstance(default, type):
        return default.__name__
    # A sentinel or a factory cannot be written down; the reference shows `...`.
    return default if default is None or isinstance(default, bool | int | float | str | bytes | tuple) else ...


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_listed_and_no_other(module: str) -> None:
    assert set(LISTED[module]) == set(public_names(module))


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_what_is_listed_is_what_the_code_has(module: str, name: str) -> None:
    thing, entry = public_names(module)[name], LISTED[module][name]
    assert entry.is_class == inspect.isclass(thing)
    if name not in MADE_FOR_THE_USER and name not in ("Append", "CRASH_POINTS") and callable(thing):
        assert parameters(entry.signature) == real_parameters(thing)
    if not inspect.isclass(thing) or module == "vertebra.runtime.events":
        return
    own = members(thing)
    assert set(entry.members) == set(own)
    for member, signature in entry.members.items():
        function = getattr(own[member], "__func__", own[member])
        if not inspect.isfunction(function):
            assert "(" not in signature, f"{name}.{member} is no method"
            continue
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        assert signature.startswith("async ") == is_async, f"{name}.{member}"
        expected = real_parameters(getattr(thing, member))
        assert parameters(signature) == expected, f"{name}.{member}"


def error_classes(root: type[VertebraError] = VertebraError) -> Iterator[type[VertebraError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == "vertebra.errors":
            yield from error_classes(kind)


def test_every_error_is_listed_with_its_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| \S.* \|$", API, re.M)
    assert rows == [(kind.__name__, kind.code) for kind in error_classes()]


def commands(parser: argparse.ArgumentParser, path: str = "vertebra") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    subparsers = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in subparsers:
        for name, child in action.choices.items():
            yield from commands(child, f"{path} {name}")
    if not subparsers:
        yield path, parser


COMMANDS = dict(commands(parser()))


def section(title: str) -> str:
    """The text under a heading that begins so."""
    found = re.search(rf"^## {re.escape(title)}(?: [^\n`]+)?`?\n(.*?)(?=^## |\Z)", CLI, re.M | re.S)
    assert found, f"docs/reference/cli.md has no section {title}"
    return found[1]


def test_every_command_is_listed_and_no_other() -> None:
    titles = re.findall(r"^## `(vertebra [a-z ]+?)(?: [A-Z:\[\] ]+)?`$", CLI, re.M)
    assert sorted(titles) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_listed_with_its_default_and_no_other(command: str) -> None:
    text = section(f"`{command}")
    rows = {m[1]: m[2] for m in re.finditer(r"^\| `(--[a-z-]+)[^`]*` \| (.+?) \|", text, re.M)}
    options = {o: a for a in COMMANDS[command]._actions for o in a.option_strings if o.startswith("--")}
    options.pop("--help")
    assert set(rows) == set(options)
    for name, shown in rows.items():
        default = options[name].default
        assert not default or shown in (f"`{default}`", f"`$VERTEBRA_{name[2:].upper()}`"), name
    (title,) = re.findall(rf"^## `{re.escape(command)}((?: [A-Z:\[\]]+)*)`$", CLI, re.M)
    positional = [str(a.metavar or a.dest).upper() for a in COMMANDS[command]._actions if not a.option_strings]
    assert title.split() == positional


def test_the_keys_of_json_are_listed() -> None:
    record = ThreadRecord(*[None] * len(dataclasses.fields(ThreadRecord)))  # type: ignore[arg-type]
    call = CallRecord(CallKey("t", "v", "h", 0, 0), *[None] * 15)  # type: ignore[arg-type]
    printed = {
        "a run": run_data(Run("t", "r", "done")),
        "a thread": thread_data(record, False),
        "a call": call_data(dataclasses.replace(call, attempts=())),
        "a tree": tree_data(ThreadTree("t", "g", "1", "done", None, None, False, (), ())),
        "an edge": edge_data(Edge("c", 0, "loop", (), (), (), 0.0)),
        "a verification": verification_data(Verification("t", "g", "1", 0, 0, (), ())),
        "a difference": difference_data(Difference("update", "n", 0, "f", 1, 2, "t")),
        "a finding": finding_data(Finding("c", "error", "p", "m", "r")),
        "a proof": proof_data(Proof("c", True)),
        "a forecast": diff_data([], [], None),
        "a conversation": conversation_data(ConversationRecord("c", None, None, (), 0, 0.0, 0.0)),
        "a branch": branch_data(Branch("main", None, 0, 0.0)),
        "a message": message_data(Message(1, "main", ChatMessage(role="user", content=""), 0.0)),
        "a pruning": pruned_data(Pruned()),
        "a rekeying": rekeyed_data(Rekeyed(0)),
        "a hit": hit_data(Hit("message", "c", "main", 1, None, "user", 0.0, 0.0, 1, 0.0, None, None, Snippet(""))),
        "an embedding": embedded_data(Embedded(0, 0), "e"),
        "an import": dataclasses.asdict(Imported(0, 0, 0)),
        "a fact": fact_data(Fact(1, "s", "p", 1, None, None, 0.0)),
        "a hold": hold_data(Hold("h", "s", "r", "b", 0.0)),
        "a receipt": receipt_data(Receipt("r", "s", "r", "b", 0.0, None, {}, None)),
        "an expiry": dataclasses.asdict(Expired(0, 0, 0)),
        "an error": VertebraError("m").to_json(),
    }
    rows = {m[1]: re.findall(r"`(\w+)`", m[2]) for m in re.finditer(r"^\| (an? \w+) .*?\| (.+) \|$", CLI, re.M)}
    assert rows == {what: list(data) for what, data in printed.items()}


def test_the_exit_codes_are_those_of_help_and_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|(.*)\|$", section("Exit codes"), re.M)
    assert [(code, text) for code, text, _ in rows] == re.findall(r"^ +(\d+) +(.+)$", EXIT_CODES, re.M)
    listed = {name: int(code) for code, _, errors in rows for name in re.findall(r"`(\w+)`", errors)}
    for kind in error_classes():
        named = [listed[base.__name__] for base in kind.__mro__ if base.__name__ in listed]
        assert exit_code(kind("so")) == (named[0] if named else 1), kind


def test_every_variable_that_is_read_is_listed_and_no_other() -> None:
    read = set()
    for file in (ROOT / "vertebra").rglob("*.py"):
        read |= set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"(?!\] =)', file.read_text()))
    assert set(re.findall(r"^\| `(\w+)` \|", section("Environment"), re.M)) == read | {"OPENAI_BASE_URL"}
