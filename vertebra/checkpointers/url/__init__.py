"""Moved to ``vertebra.databases.url`` (decision 0010); here until no branch imports it from here."""

from vertebra.databases.url import *  # noqa: F403
