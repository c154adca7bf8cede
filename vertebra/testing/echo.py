"""The echo: what a model without a script says, in the shape that the request asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertebra.testing.exchange import Answered, Asked, canonical
from vertebra.testing.schema_values import value_for


def echo(asked: Asked, number: int | None = None) -> Answered:
    """``answer to: <prompt> [<digest>]``, and ``#<number>`` where answers are to differ.

    Where a JSON schema is asked for, the text stands in the strings of a value that fits it; where the
    request insists on a tool, the tool is called. Equal requests get equal answers.
    """
    text = f"answer to: {asked.prompt} [{asked.digest[:8]}]" + ("" if number is None else f" #{number}")
    tool = _forced_tool(asked.body)
    if tool is not None:
        arguments = value_for(tool.get("parameters") or {"type": "object"}, text)
        return Answered(tool_calls=((str(tool.get("name", "")), arguments),), number=number)
    schema = _schema(asked.body)
    return Answered(text if schema is None else canonical(value_for(schema, text)), number=number)


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of chat's ``response_format`` or of the responses' ``text.format``."""
    wanted = body.get("response_format") or (body.get("text") or {}).get("format")
    if not isinstance(wanted, Mapping):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    if wanted.get("type") != "json_schema":
        return None
    found = (wanted.get("json_schema") or wanted).get("schema")
    return found if isinstance(found, Mapping) else {"type": "object"}


def _forced_tool(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The tool that ``tool_choice`` insists on, in chat's nested or the responses' flat form."""
    choice = body.get("tool_choice")
    given = [tool for tool in body.get("tools") or () if isinstance(tool, Mapping) and tool.get("type") == "function"]
    tools = [tool.get("function") or tool for tool in given]
    if choice == "required":
        return tools[0] if tools else None
    if not isinstance(choice, Mapping) or choice.get("type") != "function":
        return None
    name = (choice.get("function") or choice).get("name")
    return next((tool for tool in tools if tool.get("name") == name), None)
