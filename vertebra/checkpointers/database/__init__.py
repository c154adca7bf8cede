"""Moved to ``vertebra.databases.database`` (decision 0010); here until no branch imports it from here."""

from vertebra.databases.database import *  # noqa: F403
