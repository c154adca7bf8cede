"""Which fields a node writes, as far as it can be told without running it."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from typing import Any

import typing_extensions

from vertebra.graphs.annotations import alternatives, bare
from vertebra.graphs.definition import Definition
from vertebra.nodes.kinds import NodeSpec


def written_fields(definition: Definition, node: str) -> set[str]:
    """The fields that ``node``, or the fallback that stands in for it, is known to write."""
    spec = definition.nodes[node]
    found = _of_spec(definition, spec)
    stand_in = definition.nodes.get(spec.fallback or "")
    return found if stand_in is None else found | _of_spec(definition, stand_in)


def fields_of_type(definition: Definition, spec: NodeSpec) -> list[str]:
    """The fields whose type is the answer's, or that or None."""
    wanted = set(alternatives(spec.answer)) | {type(None)}
    fields = definition.schema.fields.items()
    return [name for name, field in fields if {*alternatives(bare(field.annotation)), type(None)} == wanted]


def _of_spec(definition: Definition, spec: NodeSpec) -> set[str]:
    """Declared (``writes=``), annotated (a TypedDict return) or read off the source."""
    if spec.kind == "subgraph":
        return set(definition.subgraphs[spec.name].definition.schema.fields) & set(definition.schema.fields)
    if spec.kind == "human":
        return {spec.into} if spec.into else set(fields_of_type(definition, spec)[:1])
    if spec.writes is not None:
        return set(spec.writes)
    return annotated(spec.fn) or _returned(spec.fn)


def annotated(fn: Any) -> set[str]:
    """The fields of the TypedDict that a function says it returns; nothing for any other annotation."""
    try:
        hint = typing.get_type_hints(fn).get("return")
    except (NameError, TypeError):
        return set()
    return set(hint.__annotations__) if typing_extensions.is_typeddict(hint) else set()


def _returned(fn: Any) -> set[str]:
    """The keys of all returned dict literals."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    except (OSError, TypeError, SyntaxError):
        return set()
    values = [statement.value for statement in _own_returns(tree.body[0])]
    keys = [key for value in values if isinstance(value, ast.Dict) for key in value.keys]
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


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
