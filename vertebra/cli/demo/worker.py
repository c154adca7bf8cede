"""The process that drives the run, and that the demo kills: events go out as lines of JSON.

It ends when its standard input does, so that it cannot outlive the demo.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from typing import Any

from vertebra.errors import VertebraError
from vertebra.runtime import events
from vertebra.types import Run


def main() -> int:
    """Start, recover or answer one thread; the last line says how it stands."""
    parser = argparse.ArgumentParser(description="Drives one run of the demo.")
    parser.add_argument("action", choices=("start", "recover", "answer"))
    parser.add_argument("--database", required=True)
    parser.add_argument("--thread", required=True)
    parser.add_argument("--given", default="{}", help="JSON: the input, or the answer")
    parser.add_argument("--models", default="{}", help="JSON: model by task")
    options = parser.parse_args()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    say("Process", pid=os.getpid(), action=options.action)
    try:
        run = asyncio.run(_drive(options))
    except VertebraError as error:
        say("RunEnded", status="failed", error=error.to_json())
        return 1
    say("RunEnded", status=run.status, error=run.error.to_json() if run.error else None)
    return 0 if run.error is None else 1


async def _drive(options: argparse.Namespace) -> Run:
    from vertebra.cli.demo.graph import scribe

    given = json.loads(options.given)
    async with scribe().compile(checkpointer=options.database, models=json.loads(options.models)) as app:
        if options.action == "start":
            return await app.run(given, thread_id=options.thread, on_event=_tell)
        if options.action == "recover":
            await app.recover(options.thread, on_event=_tell)
            return await app.status(options.thread)
        return await app.resume(options.thread, given, on_event=_tell)


def _tell(event: events.Event) -> None:
    match event:
        case events.NodeStarted(node=node, visit=visit) | events.NodeFinished(node=node, visit=visit):
            say(type(event).__name__, node=node, visit=visit)
        case events.NodeRetried(node=node, reason=reason):
            say("NodeRetried", node=node, reason=reason)
        case events.CallFinished(node=node, source=source, model=model):
            say("CallFinished", node=node, source=source, model=model)
        case events.Token(node=node, text=text):
            say("Token", node=node, text=text)
        case events.Asked(interrupt=interrupt):
            say("Asked", id=interrupt.id, text=interrupt.text, data=interrupt.data)


def say(event: str, **about: Any) -> None:
    """One line, out at once: what is still in a buffer dies with the process."""
    sys.stdout.write(json.dumps({"event": event, "at": time.time(), **about}) + "\n")
    sys.stdout.flush()


def _end_with_stdin() -> None:
    # Unbuffered: the lock of a buffer, held by this thread, would break the interpreter's orderly end.
    while os.read(0, 4096):
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
