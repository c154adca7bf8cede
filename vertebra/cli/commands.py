"""What each subcommand does."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers import Store
from vertebra.cli import histories, printing, pruning, rekeying, verifications
from vertebra.cli.arguments import exit_code, parser
from vertebra.cli.differing import diff
from vertebra.cli.loading import encryption_key, load_graph, open_store, read_json, require_store
from vertebra.cli.options import memory_option
from vertebra.cli.progress import Progress
from vertebra.cli.terminal import Terminal, clean
from vertebra.cli.windows import windows_data, windows_text
from vertebra.errors import VertebraError
from vertebra.types import Interrupt, Run, ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App

TERMINATED = 143
STATUS_CODES = {"done": 0, "failed": 1, "interrupted": 3, "cancelled": 4, "running": TERMINATED}


def execute(options: argparse.Namespace) -> int:
    """Run the subcommand that was parsed; returns the exit code."""
    if options.command == "graph" and options.action != "diff":
        from vertebra.cli import drawing, looking

        actions = {"check": looking.check, "prove": looking.prove, "bounds": looking.bounds}
        return {**actions, "show": drawing.show, "draw": drawing.draw}[options.action](options)
    if options.command == "rekey":
        return rekeying.rekey(options)
    code: int = asyncio.run(_ASYNC[options.command](options))
    return code


async def _run(options: argparse.Namespace) -> int:
    given = read_json(options.input)
    extra = {"thread_id": options.thread, "principal": options.principal, "wait_s": options.wait}
    return await _drive(options, lambda app, see: app.run(given, on_event=see, **extra))


async def _resume(options: argparse.Namespace) -> int:
    require_store(options.store)
    extra: dict[str, Any] = {"interrupt_id": options.interrupt, "fresh": options.fresh, "skip": options.skip}
    extra |= {"principal": options.principal, "wait_s": options.wait}
    if options.skip is not None:
        extra["update"] = read_json(options.update or "{}")
    if options.answer is not None:
        extra["answer"] = read_json(options.answer)
    return await _drive(options, lambda app, see: app.resume(options.thread, on_event=see, **extra))


async def _recover(options: argparse.Namespace) -> int:
    require_store(options.store)
    return await _drive(options, lambda app, see: app.recover(options.thread, on_event=see))


@dataclass
class _Stop:
    """What SIGTERM asks for: the first one lets the present superstep end, the second one does not."""

    app: App
    task: asyncio.Task[Any]
    draining: asyncio.Task[None] | None = None
    at_once: bool = False

    def __call__(self) -> None:
        if self.draining is None:
            self.draining = asyncio.ensure_future(self.app.drain("SIGTERM"))
        else:
            self.at_once = True
            self.task.cancel()


@contextlib.asynccontextmanager
async def _app(options: argparse.Namespace) -> AsyncIterator[tuple[App, _Stop]]:
    app: App = load_graph(options.graph).compile(
        checkpointer=options.store,
        default_model=options.model,
        encryption=encryption_key(),
        **memory_option(options),
    )
    task = asyncio.current_task()
    assert task is not None
    stop = _Stop(app, task)
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        yield app, stop
    finally:
        await app.aclose()


async def _drive(options: argparse.Namespace, work: Callable[[App, Progress], Awaitable[Run | Sequence[Run]]]) -> int:
    """Do something that drives threads, and tell how they stand after it."""
    async with _app(options) as (app, stop):
        try:
            with Progress(verbose=options.verbose, as_json=options.json) as see:
                done = await work(app, see)
        except asyncio.CancelledError:
            if not stop.at_once:
                raise
            stop.task.uncancel()
            done = ()
        runs = [done] if isinstance(done, Run) else list(done)
        if not stop.at_once:
            _print_runs(runs, options)
    if stop.draining is not None and (stop.at_once or any(run.status == "running" for run in runs)):
        print(f"vertebra: stopped by SIGTERM; `vertebra recover {options.graph}` goes on.", file=sys.stderr)
        return TERMINATED
    return max((_code(run) for run in runs), default=0)


def _code(run: Run) -> int:
    if run.status == "running" and run.error is not None:
        return exit_code(run.error)  # it could not be taken up
    return STATUS_CODES[run.status]


def _print_runs(runs: Sequence[Run], options: argparse.Namespace) -> None:
    if options.json:
        data = [printing.run_data(run) for run in runs]
        print(json.dumps(data if options.command == "recover" else data[0]))
        return
    terminal = Terminal.of(sys.stdout)
    for run in runs:
        for line in printing.run_text(run, resume_command(run, options), terminal):
            print(line)
        if run.error is not None:
            sys.stdout.flush()
            print(f"vertebra: {clean(str(run.error))}", file=sys.stderr)
    if not runs:
        print("Nothing to recover.")


def resume_command(run: Run, options: argparse.Namespace) -> list[str]:
    """The words of the command that resumes a run, with what differs from the defaults."""
    defaults = parser().parse_args(["recover", options.graph])
    words = ["vertebra", "resume", options.graph, run.thread_id]
    for name in ("store", "model"):
        if getattr(options, name) != getattr(defaults, name):
            words += [f"--{name}", getattr(options, name)]
    return words


async def _cancel(options: argparse.Namespace) -> int:
    with open_store(options.store) as store:
        await store.runs.request_cancel(options.thread)
        record = await store.runs.require(options.thread)
    cancelled, asked = record.status == "cancelled", record.cancel_requested
    if options.json:
        print(json.dumps({"thread": options.thread, "cancelled": cancelled, "status": record.status}))
    else:
        ended = f"{record.status}; there is nothing to cancel"
        text = "cancelled" if cancelled else "its process was asked to stop" if asked else ended
        print(f"{clean(options.thread)}: {text}")
    return 0 if cancelled or asked else STATUS_CODES["cancelled"]


async def _threads(options: argparse.Namespace) -> int:
    with open_store(options.store) as store:
        damaged: dict[str, VertebraError] = {}
        found = await store.runs.threads(status=options.status, graph=options.graph, damaged=damaged.__setitem__)
        records = found[: options.limit]
        recoverable = set(await store.runs.recoverable())
    if options.json:
        data = [printing.thread_data(record, record.thread in recoverable) for record in records]
        print(json.dumps(data + [printing.damaged_data(*item) for item in damaged.items()]))
    else:
        print("\n".join(printing.threads_text(records, recoverable, damaged, Terminal.of(sys.stdout))))
    return 0


async def _show(options: argparse.Namespace) -> int:
    with open_store(options.store) as store:
        record = await store.runs.require(options.thread)
        calls = await store.journal.calls(options.thread)
        visits = await store.journal.visits(options.thread)
        by_hand = await store.journal.interventions(options.thread)
        seen = windows_data(await store.journal.windows(options.thread), calls)
        interrupts = await _questions(store, record)
        recoverable = options.thread in await store.runs.recoverable()
    if options.json:
        data = {
            **printing.thread_data(record, recoverable),
            "interrupts": printing.plain(interrupts),
            "story": list(record.story),
            "calls": [printing.call_data(call) for call in calls],
            "visits": printing.plain(list(visits)),
            "interventions": by_hand,
            "windows": seen,
        }
        print(json.dumps(data))
        return 0
    terminal = Terminal.of(sys.stdout)
    for line in printing.thread_text(record, interrupts, by_hand, terminal):
        print(line)
    for line in printing.calls_text(calls, options.full, terminal):
        print(line)
    for line in windows_text(seen, terminal):
        print(line)
    return 0


async def _questions(store: Store, record: ThreadRecord) -> list[Interrupt]:
    """The questions of a waiting thread, read from its checkpoint without its graph."""
    if record.status != "interrupted":
        return []
    from vertebra.runtime.interrupts import read_interrupt

    # Without the graph its types stay plain data, which is all that is needed; it would be warned of for each.
    logging.getLogger("langgraph.checkpoint").setLevel(logging.ERROR)
    latest = await store.saver.aget_tuple({"configurable": {"thread_id": record.thread}})
    found = {}
    for _, channel, value in (latest.pending_writes or ()) if latest is not None else ():
        if channel == "__interrupt__":
            found.update({interrupt.id: read_interrupt(interrupt.id, interrupt.value, "?") for interrupt in value})
    return list(found.values())


_ASYNC: dict[str, Callable[[argparse.Namespace], Any]] = {
    "run": _run,
    "resume": _resume,
    "recover": _recover,
    "cancel": _cancel,
    "threads": _threads,
    "show": _show,
    "history": histories.history,
    "fork": histories.fork,
    "verify": verifications.verify,
    "export": verifications.export,
    "prune": pruning.prune,
    "graph": diff,
}
