"""The syntax trees of functions: each file is parsed once, whatever the number of its functions."""

from __future__ import annotations

import ast
import inspect
import linecache
from types import CodeType
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Place = tuple[int, str]


class Sources:
    """What has been read, for as long as one look at a graph lasts."""

    def __init__(self) -> None:
        self._files: dict[str, dict[_Place, Function | None]] = {}

    def of(self, fn: Any) -> Function | None:
        """The tree of a function; None where it cannot be told for certain which piece of source is its own."""
        code = getattr(getattr(fn, "__func__", fn), "__code__", None)
        if not isinstance(code, CodeType) or hasattr(fn, "__wrapped__"):
            return None  # a wrapper may hand on something else than it is handed
        known = self._files.get(code.co_filename)
        if known is None:
            lines = linecache.getlines(code.co_filename, getattr(fn, "__globals__", None))
            known = self._files[code.co_filename] = _functions("".join(lines))
        found = known.get((code.co_firstlineno, code.co_name))
        return found if found is not None and parameters(found) == code.co_varnames[: code.co_argcount] else None


def parameters(function: Function) -> tuple[str, ...]:
    """The names of its positional parameters."""
    return tuple(each.arg for each in (*function.args.posonlyargs, *function.args.args))


def own(function: Function) -> list[ast.AST]:
    """The statements and expressions of a function, without those of functions and classes inside it."""
    body: list[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else list(function.body)
    found, stack = [], body
    while stack:
        node = stack.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            stack.extend(ast.iter_child_nodes(node))
    return found


def is_stub(function: Function) -> bool:
    """Whether its body is ``...``, perhaps under a docstring: still to be written."""
    if isinstance(function, ast.Lambda):
        return False
    return all(isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) for each in function.body)


def first_parameter(fn: Any, function: Function) -> str | None:
    """The name by which a node or a router knows the state."""
    names = parameters(function)[1 if inspect.ismethod(fn) else 0 :]
    return names[0] if names else None


def _functions(text: str) -> dict[_Place, Function | None]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    found: dict[_Place, Function | None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            place = (node.lineno, "<lambda>")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # As the interpreter counts: a decorated function begins at its first decorator.
            place = (min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.name)
        else:
            continue
        found[place] = node if place not in found else None  # two lambdas in one line cannot be told apart
    return found
