"""From the command line to an exit code."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence

from vertebra.cli.arguments import EXIT_CODES, exit_code, parser, require_fitting
from vertebra.errors import VertebraError

STOPPED_BY_KEYBOARD = 130
READER_GONE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    options = parser().parse_args(arguments)
    try:
        require_fitting(options)
        if options.command == "demo":
            from vertebra.cli.demo.command import run

            code = int(run(options))
        elif options.command == "memory":
            from vertebra.cli import memory

            code = memory.execute(options)
        else:
            from vertebra.cli.commands import execute

            code = execute(options)
        sys.stdout.flush()
        return code
    except VertebraError as error:
        report(error, as_json=bool(getattr(options, "json", False)))
        return exit_code(error)
    except KeyboardInterrupt:
        if options.command == "memory":
            print("vertebra: stopped; an import goes on when it is repeated.", file=sys.stderr)
            return STOPPED_BY_KEYBOARD
        if options.command == "prune":
            print("vertebra: stopped between two threads; prune goes on when it is repeated.", file=sys.stderr)
            return STOPPED_BY_KEYBOARD
        if options.command == "rekey":
            left = "plain content may be left in the file until" if options.encrypt else "it is done when"
            print(f"vertebra: stopped; {left} the same command has come to its end.", file=sys.stderr)
            return STOPPED_BY_KEYBOARD
        command = f"vertebra recover {getattr(options, 'graph', '')}".rstrip()
        print(f"vertebra: stopped; `{command}` goes on from the last durable edge.", file=sys.stderr)
        return STOPPED_BY_KEYBOARD
    except BrokenPipeError:
        # Python would fail once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE


def report(error: VertebraError, *, as_json: bool) -> None:
    """Tell of an error: as JSON on standard output, or as text on standard error."""
    from vertebra.cli.terminal import clean

    if as_json:
        print(json.dumps({"error": error.to_json()}))
    else:
        text = clean(str(error))
        # Findings and differences have lines of their own; what else has any was put together below us.
        print("vertebra:", text if "\n  " in text else " ".join(text.split()), file=sys.stderr)


__all__ = ["EXIT_CODES", "exit_code", "main", "parser", "report"]
