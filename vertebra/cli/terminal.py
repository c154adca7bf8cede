"""What a terminal can show: colour where it is wanted, tables that fit, text that cannot steer it."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
STATUS_STYLES = {"done": "green", "failed": "red", "interrupted": "yellow", "running": "cyan", "cancelled": "dim"}
GAP = "  "
LEAST = 6
"""No column is made narrower than this."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """How a stream is to be written to. ``width`` None: nothing is cut, since no person looks."""

    colour: bool = False
    width: int | None = None

    @classmethod
    def of(cls, stream: TextIO) -> Terminal:
        """What this stream can show: all is plain where it is no terminal."""
        if not stream.isatty():
            return cls()
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return cls(not plain, shutil.get_terminal_size().columns)

    def paint(self, text: str, style: str) -> str:
        """The text in a style of ``STYLES``, where there is colour."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self.colour and style in STYLES else text

    def status(self, status: str) -> str:
        """A run's status in its colour."""
        return self.paint(status, STATUS_STYLES.get(status, ""))

    def line(self, text: str, indent: int = 0) -> str:
        """One line of text that is cut to what is left of the width."""
        room = None if self.width is None else max(1, self.width - indent)
        return " " * indent + fit(" ".join(clean(text).split()), room)

    def wrapped(self, text: str, indent: int = 0) -> list[str]:
        """Text over as many lines as it needs; its own line breaks stay."""
        head = " " * indent
        lines = clean(text).splitlines() or [""]
        if self.width is None:
            return [head + line for line in lines]
        room = max(LEAST, self.width - indent)
        return [head + part for line in lines for part in textwrap.wrap(line, room) or [""]]

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
        """Lines of aligned columns that fit the width: the widest columns give way."""
        cells = [[" ".join(clean(cell).split()) for cell in row] for row in (header, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        if self.width is not None:
            widths = narrowed(widths, self.width - len(GAP) * (len(widths) - 1))
        lines = []
        for number, row in enumerate(cells):
            shown = [fit(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)]
            text = [
                self.paint(cell, "bold" if number == 0 else STATUS_STYLES.get(cell.strip(), "")) for cell in shown[:-1]
            ]
            last = shown[-1].rstrip()
            lines.append(GAP.join([*text, self.paint(last, "bold") if number == 0 else last]).rstrip())
        return lines


def narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Column widths of at most ``room`` in all, taken from the widest first, down to ``LEAST`` each."""
    narrow = list(widths)
    while sum(narrow) > room and max(narrow) > LEAST:
        narrow[narrow.index(max(narrow))] -= 1
    while sum(narrow) > room and max(narrow) > 1:
        narrow[narrow.index(max(narrow))] -= 1
    return narrow


def fit(text: str, width: int | None) -> str:
    """The text, cut to ``width`` with an ellipsis; all of it for None."""
    if width is None or len(text) <= width:
        return text
    return text[: max(0, width - 1)] + "…"


def clean(text: str) -> str:
    """The text without what would steer a terminal: control characters are shown as escapes."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def clock(seconds: float) -> str:
    """A Unix time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ago(seconds: float) -> str:
    """A span since something, in the largest unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"
