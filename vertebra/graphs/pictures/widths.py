"""How wide a text is, without a font: never narrower than what a common sans-serif font makes of it.

In pixels the widths are those of a wide one (DejaVu Sans, in hundredths of the font size); in a terminal they are
cells, by Unicode's East Asian width.
"""

from __future__ import annotations

import re
import unicodedata

_ASCII = (
    *(32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34),
    *(84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99),
    *(69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52),
    *(39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84),
)
BOLD = 1.15
"""Bold text is at most so much wider."""
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""What is not seen, and turns the direction of what is around it."""
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What steers a terminal, or is no XML."""


def clean(text: str) -> str:
    r"""The text in one line, without characters that steer what is around it.

    Example::

        >>> clean("a\nb\u202ec")
        'a bc'
    """
    return _BREAKING.sub("\ufffd", _TURNING.sub("", " ".join(text.split())))


def pixels(text: str, size: float, *, bold: bool = False) -> float:
    """The width of a text in pixels, at a font size in pixels."""
    return sum(_hundredths(char) for char in text) / 100 * size * (BOLD if bold else 1)


def _hundredths(char: str) -> int:
    code = ord(char)
    if 32 <= code < 127:
        return _ASCII[code - 32]
    if _is_joined(char):
        return 0
    if unicodedata.east_asian_width(char) in "WF":
        return 140 if code >= 0x1F000 else 100
    if 0x0590 <= code < 0x0700:  # Hebrew, Arabic
        return 80
    return 95 if char.isupper() or code >= 0x0700 else 70


def cells(text: str) -> int:
    """The width of a text in cells of a terminal.

    Example::

        >>> cells("要約 ok")
        7
    """
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if _is_joined(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _is_joined(char: str) -> bool:
    """Whether the character sits on the one before it."""
    return unicodedata.combining(char) > 0 or unicodedata.category(char) in ("Mn", "Me", "Cf")


def is_right_to_left(text: str) -> bool:
    """Whether any of it is written from right to left."""
    return any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text)


def fitted(text: str, longest: int, lines: int = 1) -> tuple[str, ...]:
    """The text in at most so many lines of so many cells, broken at spaces and ``_-./``; ``…`` where it is cut.

    Example::

        >>> fitted("collect_all_of_the_evidence", 14, 2)
        ('collect_all_', 'of_the_eviden…')
    """
    rest, found = text, list[str]()
    while rest and len(found) < lines:
        if cells(rest) <= longest:
            found.append(rest)
            break
        if len(found) == lines - 1:
            found.append(_cut(rest, longest - 1).rstrip() + "…")
            break
        head = _cut(rest, longest)
        at = max(head.rfind(mark) for mark in " _-./") + 1
        head = head[:at] if at > longest // 3 else head
        rest = rest[len(head) :].lstrip()
        found.append(head.rstrip())
    return tuple(found) or ("",)


def _cut(text: str, room: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _cells(char)
        if used > room:
            return text[:index]
    return text
