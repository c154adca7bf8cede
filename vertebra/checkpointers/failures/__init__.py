"""Moved to ``vertebra.databases.failures`` (decision 0010); here until no branch imports it from here."""

from vertebra.databases.failures import *  # noqa: F403
