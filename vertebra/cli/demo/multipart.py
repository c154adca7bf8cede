"""Reading the body of a multipart form. Pure."""

from __future__ import annotations

import re


def read_multipart(content_type: str, body: bytes) -> dict[str, bytes]:
    """Fields of ``multipart/form-data`` by name; files as their bytes. Empty for anything else.

    Example::

        >>> form = b'--x\\r\\nContent-Disposition: form-data; name="model"\\r\\n\\r\\ntiny\\r\\n--x--\\r\\n'
        >>> read_multipart("multipart/form-data; boundary=x", form)
        {'model': b'tiny'}
    """
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if found is None:
        return {}
    fields = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + found.group(1).encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name is not None:
            fields[name.group(1).decode("utf-8", "replace")] = content
    return fields
