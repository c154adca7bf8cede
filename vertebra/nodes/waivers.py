"""Waivers: findings of the checks that an author accepts, where they stand, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertebra.errors import UsageError


def read_waivers(waive: Any, place: str) -> dict[str, str]:
    """``{"code": "reason"}`` as it was written. Raises ``UsageError`` for any other form, or without a reason."""
    if waive is None:
        return {}
    pairs = dict(waive) if isinstance(waive, Mapping) else {}
    if not isinstance(waive, Mapping) or not all(_is_reason(code) and _is_reason(why) for code, why in pairs.items()):
        raise UsageError(
            f"waive={waive!r} at {place} gives no reason.",
            remedy='write waive={"code": "why it is no matter here"}; the codes are in docs/checks.md.',
        )
    return {code: why.strip() for code, why in pairs.items()}


def _is_reason(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())
