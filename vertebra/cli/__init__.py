"""The command ``vertebra``. Loads what a subcommand needs when it is used, so that ``--help`` is quick."""

from vertebra.cli.main import main

__all__ = ["main"]
