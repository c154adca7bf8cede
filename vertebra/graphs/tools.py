"""A tool: a function that a model may call, with its arguments as a schema, and whether a person has to approve."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

from pydantic import BaseModel, ConfigDict, PydanticUserError, ValidationError, create_model

from vertebra.errors import ToolError, UsageError
from vertebra.graphs.state import summary
from vertebra.nodes.retry import ONCE, Retry

HANDED = ("ctx", "context")


@dataclass(frozen=True)
class Tool:
    """A function and what is declared about it; still callable as written. Made by ``tool``."""

    fn: Callable[..., Any]
    name: str
    description: str
    arguments: type[BaseModel]
    approval: bool = False
    approval_deadline_s: float | None = None
    retry: Retry = ONCE
    timeout_s: float | None = None
    check: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.fn)

    @property
    def schema(self) -> dict[str, Any]:
        """As chat completions take it in ``tools``."""
        parameters = self.arguments.model_json_schema()
        parameters.pop("title", None)
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}

    def read(self, text: str) -> dict[str, Any]:
        """The arguments that a model gave as JSON, validated, as plain data. Raises ``ToolError``."""
        try:
            return self.arguments.model_validate_json(text or "{}").model_dump(mode="json")
        except ValidationError as error:
            raise ToolError(f"The arguments do not fit {self.name!r}: {summary(error)}.") from error

    def bound(self, fn: Callable[..., Any], given: dict[str, Any], ctx: Any) -> dict[str, Any]:
        """Keyword arguments for a call of ``fn``, in their types; with the context, if it takes one."""
        values = self.arguments.model_validate(given)
        typed = {name: getattr(values, name) for name in type(values).model_fields}
        return typed | {name: ctx for name in inspect.signature(fn).parameters if name in HANDED}


@overload
def tool(fn: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    approval: bool = False,
    approval_deadline_s: float | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    check: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | None = None,
    approval: bool = False,
    approval_deadline_s: float | None = None,
    timeout_s: float | None = None,
    check: Callable[..., Any] | None = None,
) -> Any:
    """A function that a model may call: its docstring tells what for, its annotations which arguments it takes.

    Arguments are validated before it is called. It may have a parameter ``ctx``; the result is a text, or JSON. What
    it raises as ``ToolError`` is told to the model; any other exception is retried and fails the run as in any node.
    ``approval``: a person is asked before each call; ``approval_deadline_s`` after which it counts as denied.
    ``retry``, ``timeout_s`` and ``check`` are those of ``effect``; ``check`` takes the same arguments.
    Raises ``UsageError`` for parameters without a type.

    Example::

        @tool(approval=True)
        async def refund(order: str, amount_eur: Annotated[float, Field(gt=0, le=500)]) -> str:
            \"\"\"Pay money back to the customer of an order.\"\"\"
    """

    def wrap(fn: Callable[..., Any]) -> Tool:
        called = name or str(getattr(fn, "__name__", type(fn).__name__))
        description = inspect.cleandoc(fn.__doc__ or "").strip()
        asking = (approval, approval_deadline_s)
        return Tool(fn, called, description, _arguments(fn, called), *asking, retry or ONCE, timeout_s, check)

    return wrap if fn is None else wrap(fn)


def told(result: Any) -> str:
    """What a tool returned, as the text that the model is given."""
    from pydantic_core import to_jsonable_python

    return result if isinstance(result, str) else json.dumps(to_jsonable_python(result), ensure_ascii=False)


def _arguments(fn: Callable[..., Any], name: str) -> type[BaseModel]:
    hints = typing.get_type_hints(fn, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.name in HANDED:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"Tool {name!r} takes {parameter}.", remedy="name each of its arguments.")
        if parameter.name not in hints:
            raise UsageError(
                f"Parameter {parameter.name!r} of tool {name!r} has no type.",
                remedy="annotate it: the model is told what to give, and what it gives is validated.",
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except (PydanticUserError, NameError) as error:
        raise UsageError(f"The arguments of tool {name!r} cannot be validated: {error}", remedy="mend them.") from error
