"""Which fields each node of a graph reads and writes, and whether that is known to be all."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from vertebra.graphs.definition import Definition
from vertebra.graphs.sources import Function, Sources, first_parameter, is_stub, own
from vertebra.graphs.writes import annotated, written_fields
from vertebra.nodes.kinds import Node, NodeSpec


class Access(NamedTuple):
    """The fields that are known of; ``needed``: those without which a reader fails; ``all``: there are no others."""

    fields: frozenset[str]
    needed: frozenset[str]
    all: bool


NOTHING = Access(frozenset(), frozenset(), True)
UNKNOWN = Access(frozenset(), frozenset(), False)


class Accesses:
    """What is declared, annotated or read off the source of the functions of one definition; each is read once."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._names = frozenset(definition.schema.fields)
        self._workers = {fan.worker: fan.over for fan in definition.fan_outs}
        self._sources = Sources()
        self._reads: dict[Any, Access] = {}
        self._writes: dict[Any, Access] = {}
        self._mentions: dict[Any, bool] = {}

    def reads(self, spec: NodeSpec) -> Access:
        """What a node reads of the state; a worker of a fan-out, only the field that is spread."""
        if spec.name in self._workers:
            return _certain({self._workers[spec.name]} & self._names)
        if spec.reads is not None:
            return _certain(frozenset(spec.reads) & self._names)
        if spec.kind == "subgraph":
            inner = self._definition.subgraphs[spec.name].definition.schema.fields
            return Access(self._names & set(inner), frozenset(), True)
        return self.reads_of(spec.fn)

    def reads_of(self, fn: Any) -> Access:
        """What a function reads of the state that it is handed first."""
        fn = fn.spec.fn if isinstance(fn, Node) else fn
        key = _key(fn)
        if key not in self._reads:
            self._reads[key] = self._read(fn)
        return self._reads[key]

    def _read(self, fn: Any) -> Access:
        function = self._sources.of(fn)
        if function is None or is_stub(function):
            return UNKNOWN
        name = first_parameter(fn, function)
        return NOTHING if name is None else _read(function, name, self._names)

    def writes(self, spec: NodeSpec) -> Access:
        """What a node, or what stands in for it, writes."""
        known = frozenset(written_fields(self._definition, spec.name)) if spec.fallback else self._written(spec).fields
        return Access(known & self._names, frozenset(), self._written(spec).all and not spec.fallback)

    def _written(self, spec: NodeSpec) -> Access:
        if spec.kind in ("human", "subgraph") or spec.writes is not None:
            return _certain(frozenset(written_fields(self._definition, spec.name)))
        key = _key(spec.fn)
        if key not in self._writes:
            hinted = annotated(spec.fn)
            self._writes[key] = _certain(frozenset(hinted)) if hinted else _returned(self._sources.of(spec.fn))
        return self._writes[key]

    def mentions(self, fn: Any, attribute: str) -> bool:
        """Whether a function may use an attribute, by its source; True where that cannot be told."""
        key = (_key(fn), hasattr(fn, "__wrapped__"), attribute)
        if key not in self._mentions:
            self._mentions[key] = self._mentioned(fn, attribute)
        return self._mentions[key]

    def _mentioned(self, fn: Any, attribute: str) -> bool:
        function = self._sources.of(fn)
        if function is None or is_stub(function):
            return True
        nodes = list(ast.walk(function))
        if any(isinstance(node, ast.Attribute) and node.attr == attribute for node in nodes):
            return True
        attributes = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        handed_on = (node for node in nodes if isinstance(node, ast.Name) and id(node) not in attributes)
        return any(node.id in ("ctx", "context") for node in handed_on)


def _key(fn: Any) -> Any:
    return getattr(getattr(fn, "__func__", fn), "__code__", id(fn))


def _certain(fields: frozenset[str] | set[str]) -> Access:
    return Access(frozenset(fields), frozenset(fields), True)


def _returned(function: Function | None) -> Access:
    """The keys of the dicts that a function returns; all of them, if it returns nothing else."""
    if function is None or is_stub(function):
        return UNKNOWN
    if isinstance(function, ast.Lambda):
        values: list[ast.expr | None] = [function.body]
    else:
        values = [node.value for node in own(function) if isinstance(node, ast.Return)]
    keys: set[str] = set()
    whole = True
    for value in values:
        if isinstance(value, ast.Dict):
            texts = [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            keys.update(texts)
            whole = whole and len(texts) == len(value.keys)
        else:
            whole = whole and (value is None or (isinstance(value, ast.Constant) and value.value is None))
    return Access(frozenset(keys), frozenset(), whole)


def _read(function: Function, name: str, fields: frozenset[str]) -> Access:
    """The fields taken from ``name``: as ``s.field``, ``s["field"]``, ``s.get("field")``, ``"field" in s``.

    Anything else that is done with it may read any other field.
    """
    parents = {id(child): parent for parent in ast.walk(function) for child in ast.iter_child_nodes(parent)}
    arguments = [node for node in ast.walk(function) if isinstance(node, ast.arg) and node.arg == name]
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name]
    if len(arguments) > 1 or any(not isinstance(use.ctx, ast.Load) for use in uses):
        return UNKNOWN  # the name comes to stand for something else
    found: set[str] = set()
    needed: set[str] = set()
    whole = True
    for use in uses:
        parent = parents[id(use)]
        field: Any = None
        if isinstance(parent, ast.Subscript) and parent.value is use:
            field = parent.slice.value if isinstance(parent.slice, ast.Constant) else None
            if isinstance(parent.ctx, ast.Load) and field in fields:
                needed.add(field)
            elif field in fields:
                continue
        elif isinstance(parent, ast.Attribute):
            field = parent.attr
            call = parents.get(id(parent))
            if field == "get" and isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
                field = call.args[0].value
            elif field in fields and not isinstance(parent.ctx, ast.Load):
                continue
        elif isinstance(parent, ast.Compare) and isinstance(parent.left, ast.Constant):
            field = parent.left.value
        if isinstance(field, str) and field in fields:
            found.add(field)
        else:
            whole = False
    return Access(frozenset(found | needed), frozenset(needed), whole)
