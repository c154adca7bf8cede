"""The pure parts: values that fit schemas, forms, and what importing costs."""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vertebra.testing
from vertebra.testing.multipart import read_form
from vertebra.testing.schema_values import value_for

TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["children", "next"],
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ({"type": "string", "maxLength": 3}, lambda v: v == "the"),
        ({"type": "string", "minLength": 20}, lambda v: len(v) == 20),
        ({"type": "string", "format": "date"}, lambda v: v == "2026-01-01"),
        ({"enum": ["a", "b"]}, lambda v: v in ("a", "b")),
        ({"const": 4}, lambda v: v == 4),
        ({"type": "integer", "minimum": 5, "maximum": 7}, lambda v: v in (5, 6, 7)),
        ({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7}, lambda v: v == 6),
        ({"type": "integer", "multipleOf": 5, "minimum": 3, "maximum": 9}, lambda v: v == 5),
        ({"type": "integer", "maximum": -3}, lambda v: v <= -3),
        ({"type": "number", "minimum": 0, "maximum": 1}, lambda v: 0 < v < 1),
        ({"type": "boolean"}, lambda v: isinstance(v, bool)),
        ({"type": "null"}, lambda v: v is None),
        ({"type": ["string", "null"]}, lambda v: v == "the text"),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, lambda v: len(v) == 2),
        ({"type": "array", "maxItems": 0, "items": {"type": "integer"}}, lambda v: v == []),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, lambda v: v == [1, 2]),
        ({"allOf": [{"$ref": "#/$defs/S"}], "$defs": {"S": {"type": "string"}}}, lambda v: v == "the text"),
        (TREE, lambda v: isinstance(v["children"], list)),
    ],
)
def test_values_fit_their_schema(schema, fits):
    assert fits(value_for(schema, "the text"))
    assert value_for(schema, "the text") == value_for(schema, "the text")


def test_a_schema_that_no_value_fits_is_an_error():
    endless = {"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]}
    with pytest.raises(ValueError, match="without end"):
        value_for(endless, "x")


def test_forms_keep_their_bytes_and_their_repeated_fields():
    def form(boundary: str) -> bytes:
        disposition = "Content-Disposition: form-data; name="
        parts = [
            f'{disposition}"t[]"\r\n\r\na',
            f'{disposition}"t[]"\r\n\r\nb',
            f'{disposition}"file"; filename="x.wav"\r\nContent-Type: audio/wav\r\n\r\n\r\n--\r\n',
        ]
        return ("".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n").encode()

    read = [read_form(f'multipart/form-data; boundary="{name}"', form(name)) for name in ("one", "two")]
    assert read[0] == read[1]
    assert read[0]["t[]"] == ["a", "b"]
    assert read[0]["file"]["size_bytes"] == 6
    for content_type, body in (("multipart/form-data", b""), ("multipart/form-data; boundary=x", b"--x\r\ncut off")):
        with pytest.raises(ValueError):
            read_form(content_type, body)


@pytest.mark.parametrize("name", ["scripted_model", "virtual_time"])
def test_examples_in_the_docstrings_run(name):
    module = importlib.import_module(f"vertebra.testing.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_exported_names_exist_and_others_do_not():
    for name in vertebra.testing.__all__:
        assert getattr(vertebra.testing, name) is not None
    with pytest.raises(AttributeError, match="nothing_such"):
        vertebra.testing.nothing_such


def test_importing_is_light():
    heavy = ["openai", "httpx", "httpx2", "pydantic", "langgraph", "networkx", "pytest", "starlette", "http.server"]
    code = f"""
import sys
import vertebra.testing
assert not [name for name in {heavy!r} if name in sys.modules], "the package"
for name in vertebra.testing.__all__:
    getattr(vertebra.testing, name)
import vertebra.testing.scripted_model
assert not [name for name in {heavy[:-1]!r} if name in sys.modules], "its names"
"""
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": root}, timeout=60)
