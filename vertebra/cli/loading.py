"""What the command line names: a graph in a module, JSON in a file, a store that is there."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertebra.errors import StoreUnavailable, UsageError, VertebraError

if TYPE_CHECKING:
    from vertebra.checkpointers import Store


def load_graph(place: str) -> Any:
    """The graph at ``module:name``; the current folder is searched too. Raises ``UsageError``."""
    module_name, separator, name = place.partition(":")
    if not separator or not name or not module_name:
        raise UsageError(f"{place!r} names no graph.", remedy="write MODULE:GRAPH, such as agents.scribe:graph.")
    module = _import(module_name)
    graph = getattr(module, name, None)
    if graph is None:
        near = difflib.get_close_matches(name, vars(module), n=1)
        known = [found for found, value in vars(module).items() if _is_graph(value)]
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'no graph'}."
        raise UsageError(f"Module {module_name!r} has no {name!r}.", remedy=hint)
    if not _is_graph(graph):
        remedy = "name the Graph, not its app." if hasattr(graph, "ainvoke") else "name a Graph."
        if hasattr(graph, "compile"):
            remedy = "adopt it in that module: graph = Graph.from_langgraph(builder)."
        raise UsageError(f"{place!r} is of type {type(graph).__name__}, not a graph.", remedy=remedy)
    return graph


def _is_graph(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(value, "compile") and hasattr(value, "fingerprint")


def _import(name: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except VertebraError:
        raise
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise UsageError(
                f"There is no module {missing!r} here or on the path.",
                remedy="run this in the folder of the module, or install it.",
            ) from error
        raise UsageError(
            f"Module {name!r} cannot be imported: {type(error).__name__}: {_reason(error)}.",
            remedy="mend the module.",
        ) from error


def _reason(error: BaseException) -> str:
    """What was wrong, and in which line of the user's own code."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    return f"{error} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else str(error)


def read_json(text: str) -> Any:
    """JSON from the command line, from ``@file``, or from standard input for ``@-``. Raises ``UsageError``."""
    try:
        return json.loads(_read(text[1:]) if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        shown = text if len(text) <= 60 else f"{text[:59]}…"
        remedy = "pass JSON (in single quotes, for the shell), @file, or @- for standard input."
        raise UsageError(f"{shown!r} is no JSON: {error}.", remedy=remedy) from error


def _read(path: str) -> str:
    return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")


def require_store(url: str) -> None:
    """Refuse a store that cannot have threads yet, rather than make one. Raises ``StoreError``, ``UsageError``."""
    from vertebra.checkpointers import StoreUrl
    from vertebra.checkpointers.migrations import VERSIONS
    from vertebra.databases.looking import has_table

    parsed = StoreUrl.parse(url)
    if parsed.backend == "memory":
        raise UsageError("memory:// ends with each command.", remedy="name a database with --store.")
    if parsed.backend == "sqlite" and not Path(parsed.path).exists():
        raise StoreUnavailable(
            f"There is no database {parsed.path!r}.", remedy="name it with --store, or set VERTEBRA_STORE."
        )
    if not has_table(parsed, VERSIONS):
        raise StoreUnavailable(
            f"{parsed} has no threads of Vertebra, and was left as it is.",
            remedy="name another database with --store; `vertebra run` makes its tables in this one.",
        )


def encryption_key() -> str | None:
    """From the environment alone: a command line is seen by all who list processes, and URLs are printed."""
    return os.environ.get("VERTEBRA_ENCRYPTION_KEY") or None


def open_store(url: str) -> Store:
    """A store that is there. Raises ``StoreError``, ``UsageError``."""
    from vertebra.checkpointers import open_checkpointer

    require_store(url)
    return open_checkpointer(url, encryption=encryption_key())
