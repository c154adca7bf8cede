"""State and run records changed in one transaction: what a saver offers that lives beside the run records."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vertebra.databases.database import Tx

T = TypeVar("T")

Drop = Callable[[int, bool], int]
"""Deletes all but the last n checkpoints of each namespace of the thread, 0: all its state. Returns how many those
are, and deletes nothing, where the second argument (dry run) is true."""

Together = Callable[[Tx, Drop], T]
"""What is done to run records and state at once: all of it happens, or nothing."""
