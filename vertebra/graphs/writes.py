"""Which fields a node writes, as far as it can be told without running it."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from typing import Any

from vertebra.graphs.definition import Definition


def written_fields(definition: Definition, node: str) -> set[str] | None:
    """Declared (``writes=``), annotated (a TypedDict return) or read off the source; None if unknown."""
    spec = definition.nodes[node]
    if spec.kind == "subgraph":
        return set(definition.subgraphs[node].definition.schema.fields) & set(definition.schema.fields)
    if spec.kind == "human":
        return {spec.into} if spec.into else None
    if spec.writes is not None:
        return set(spec.writes)
    return _annotated(spec.fn) or _returned(spec.fn)


def _annotated(fn: Any) -> set[str] | None:
    try:
        hint = typing.get_type_hints(fn).get("return")
    except Exception:
        return None
    return set(hint.__annotations__) if typing.is_typeddict(hint) else None


def _returned(fn: Any) -> set[str] | None:
    """The keys of all returned dict literals; None if anything else is returned."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return None
    keys: set[str] = set()
    for statement in _own_returns(tree.body[0]):
        value = statement.value
        if value is None or (isinstance(value, ast.Constant) and value.value is None):
            continue
        if not isinstance(value, ast.Dict):
            return None
        for key in value.keys:
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                return None
            keys.add(key.value)
    return keys


def _own_returns(function: ast.AST) -> list[ast.Return]:
    """The return statements of a function, without those of functions inside it."""
    found: list[ast.Return] = []
    stack = list(ast.iter_child_nodes(function))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Return):
            found.append(node)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            stack.extend(ast.iter_child_nodes(node))
    return found
