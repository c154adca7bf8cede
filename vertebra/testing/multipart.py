"""The parts of a multipart form, whatever its boundary. Pure."""

from __future__ import annotations

import hashlib
from email.message import Message
from typing import Any


def read_form(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields by name, a list where a name repeats; a file as its name, type, size and hash.

    Raises ``ValueError`` where there is no boundary or the body does not keep to it.
    """
    boundary = _header(content_type).get_param("boundary")
    if not isinstance(boundary, str):
        raise ValueError("the multipart body names no boundary")
    # Parts begin with the boundary at the start of a line; one within a line is content.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise ValueError("the multipart body does not end with its boundary")
    fields: dict[str, Any] = {}
    for piece in pieces[1:-1]:
        name, value = _part(piece)
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields


def _part(piece: bytes) -> tuple[str, Any]:
    head, separator, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    headers = {
        key.strip().lower(): value.strip()
        for key, _, value in (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
    }
    disposition = _header(headers.get("content-disposition", ""))
    name, file = disposition.get_param("name"), disposition.get_param("filename")
    if not separator or not isinstance(name, str):
        raise ValueError("a part of the multipart body has no name")
    if file is None:
        return name, content.decode("utf-8", "replace")
    return name, {
        "filename": str(file),
        "content_type": headers.get("content-type", "application/octet-stream"),
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _header(value: str) -> Message:
    """With its parameters parsed by the standard library."""
    message = Message()
    message["content-type"] = value
    return message
