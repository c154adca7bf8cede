"""The command line as a whole: its subcommands, which of their options fit together, and its exit codes."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Any

from vertebra import __version__
from vertebra.cli import graph_arguments, memory_arguments, run_arguments, thread_arguments
from vertebra.cli.demo import command as demo_command
from vertebra.cli.options import examples
from vertebra.errors import (
    ConversationError,
    FactError,
    GraphChanged,
    RetentionError,
    StoreError,
    ThreadError,
    UsageError,
    VertebraError,
)

EXIT_CODES = """exit codes:
  0    done
  1    the run failed, the graph has errors, or the claim is not proved
  2    the command line is wrong
  3    the run waits for an answer (interrupted)
  4    the thread or conversation cannot do that now (busy, not found, changed, cancelled); graph diff: one is refused
  5    the database, or a thread in it, cannot be used
  6    verified, a recorded thread came out otherwise
  130  interrupted from the keyboard; recover or resume goes on
  141  whoever read the output has gone away
  143  stopped by SIGTERM after the superstep it was in; recover goes on
"""

ENVIRONMENT = """environment:
  VERTEBRA_STORE   the default of --store
  VERTEBRA_MODEL   the default of --model
  VERTEBRA_MEMORY  the default of --memory
  VERTEBRA_ENCRYPTION_KEY   32 bytes in base64, for what is encrypted; old keys after a comma; never printed
  OPENAI_API_KEY, OPENAI_BASE_URL   as for openai; never stored, never printed
  NO_COLOR         set to anything: no colour
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="vertebra",
        description="Run, resume and look at agents that are explicit state graphs.",
        epilog=f"{EXIT_CODES}\n{ENVIRONMENT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"vertebra {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run_arguments.add_parsers(commands)
    thread_arguments.add_parsers(commands)
    graph_arguments.add_parser(commands)
    memory_arguments.add_parser(commands)
    demo = demo_command.add_parser(commands)
    demo.formatter_class = argparse.RawDescriptionHelpFormatter
    demo.description = textwrap.fill(demo.description or "", 78)
    demo.epilog = examples("vertebra demo", "vertebra demo consultation.wav --yes --out visit")
    return root


def require_fitting(options: argparse.Namespace) -> None:
    """Refuse options that mean nothing together. Raises ``UsageError``."""
    if options.command == "verify" and not (options.threads or options.all or options.file):
        raise UsageError("Nothing is named to verify.", remedy="name threads, or add --all or --file FILE.")
    needs: dict[str, Callable[[], Any]] = {"update": lambda: options.skip, "interrupt": lambda: options.answer}
    for name, needed in needs.items():
        if options.command == "resume" and getattr(options, name) is not None and needed() is None:
            other = "--skip NODE" if name == "update" else "--answer JSON"
            raise UsageError(f"--{name} does nothing without {other}.", remedy=f"add {other}, or leave it out.")


def exit_code(error: VertebraError) -> int:
    """The documented exit code of an error."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, ThreadError | GraphChanged | ConversationError | FactError | RetentionError):
        return 4
    if isinstance(error, StoreError):
        return 5
    return 1


__all__ = ["EXIT_CODES", "exit_code", "parser", "require_fitting"]
