"""The shape of a message: what OpenAI's chat completions API takes, validated and kept without loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, model_validator

from vertebra.errors import MessageInvalid

Role = Literal["developer", "system", "user", "assistant", "tool"]
_PARTS: dict[str, tuple[str, type[Any]]] = {
    "text": ("text", str),
    "refusal": ("refusal", str),
    "image_url": ("image_url", dict),
    "input_audio": ("input_audio", dict),
    "file": ("file", dict),
}
_INSTEAD = ("refusal", "audio", "function_call")
"""What an assistant may have in the place of content and tool calls."""


class _Kept(BaseModel):
    """Frozen; what it does not know of (a provider's own fields) is kept, if it is JSON."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, JsonValue]


class Part(_Kept):
    """One part of a message's content: a text, an image, a sound, a file, or what else a provider knows."""

    type: str

    @model_validator(mode="after")
    def _has_what_its_type_says(self) -> Part:
        name, kind = _PARTS.get(self.type, ("", object))
        if name and not isinstance((self.__pydantic_extra__ or {}).get(name), kind):
            raise ValueError(f"a part of type {self.type!r} needs {name!r}")
        return self


class FunctionCall(_Kept):
    """Which function the model asks for; ``arguments`` is what the model wrote, be it JSON or not."""

    name: str
    arguments: str


class ToolCall(_Kept):
    """One call that an assistant's message asks for."""

    id: str
    type: str = "function"
    function: FunctionCall | None = None

    @model_validator(mode="after")
    def _has_a_function(self) -> ToolCall:
        if self.type == "function" and self.function is None:
            raise ValueError("a tool call of type 'function' needs 'function'")
        return self


class ChatMessage(_Kept):
    """A message as the API takes it. What a provider adds of its own is kept."""

    role: Role
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> ChatMessage:
        if self.role == "assistant":
            said = isinstance(self.content, str) or self.content or self.tool_calls
            if not said and not any((self.__pydantic_extra__ or {}).get(name) for name in _INSTEAD):
                raise ValueError("an assistant's message needs content or tool_calls")
        elif self.content is None or self.content == ():
            raise ValueError(f"a message of role {self.role!r} needs content")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant asks for tool_calls")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("a message of role 'tool' has a tool_call_id, and no other has one")
        return self

    @property
    def text(self) -> str:
        """The text of the content, parts of other kinds left out."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(str((part.__pydantic_extra__ or {})["text"]) for part in self.content if part.type == "text")

    def to_openai(self) -> dict[str, Any]:
        """Plain data to send: what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_json(self) -> str:
        """One text for equal messages."""
        return canonical(self.to_openai())


def read_message(given: Any) -> ChatMessage:
    """A mapping, an object of the ``openai`` library, or a ``ChatMessage``. Raises ``MessageInvalid``."""
    data = given
    if not isinstance(given, Mapping) and hasattr(given, "model_dump"):
        data = given.model_dump(mode="json", exclude_none=True)
    try:
        message = ChatMessage.model_validate(data)
        message.to_json().encode()  # halves of surrogate pairs are no text
    except ValidationError as error:
        raise MessageInvalid(f"This is no message: {_reasons(error)}.") from None
    except ValueError as error:
        raise MessageInvalid(f"This is no message: {error}.") from None
    return message


def read_kept(text: str) -> ChatMessage:
    """A message from the text that it is kept as. Raises ``ValueError``."""
    return ChatMessage.model_validate(json.loads(text))


def canonical(data: Any) -> str:
    """JSON in one spelling. Raises ``ValueError`` for NaN and infinity, which JSON lacks."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _reasons(error: ValidationError) -> str:
    """What is wrong and where, without the content, which belongs in no log."""
    found = {f"{'.'.join(str(step) for step in e['loc'])}: {e['msg']}".removeprefix(": ") for e in error.errors()}
    return "; ".join(sorted(found))
