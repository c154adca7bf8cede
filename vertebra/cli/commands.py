"""What each subcommand does."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers import Store, open_checkpointer
from vertebra.errors import UsageError
from vertebra.types import CallRecord, Run

if TYPE_CHECKING:
    from vertebra.runtime.app import App

STATUS_CODES = {"done": 0, "failed": 1, "interrupted": 3, "running": 3, "cancelled": 4}


def execute(options: argparse.Namespace) -> int:
    """Run the subcommand that was parsed; returns the exit code."""
    if options.command == "graph":
        return _check(options)
    return asyncio.run(_ASYNC[options.command](options))


def load_graph(place: str) -> Any:
    """The graph at ``module:name``; the current folder is searched too. Raises ``UsageError``."""
    module_name, separator, name = place.partition(":")
    if not separator or not name:
        raise UsageError(f"{place!r} names no graph.", remedy="write MODULE:GRAPH, such as agents.scribe:graph.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        graph = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{place!r} cannot be loaded: {error}.", remedy="check the module and the name.") from error
    if not hasattr(graph, "compile"):
        raise UsageError(f"{place!r} is {type(graph).__name__}, not a graph.", remedy="name the Graph, not its app.")
    return graph


def read_json(text: str) -> Any:
    """JSON from the command line, or from ``@file``. Raises ``UsageError``."""
    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{text[:60]!r} is no JSON: {error}.", remedy="pass JSON, or @file.") from error


def _check(options: argparse.Namespace) -> int:
    findings = load_graph(options.graph).check()
    if options.json:
        keys = ("code", "severity", "place", "message", "remedy")
        print(json.dumps([{key: getattr(finding, key) for key in keys} for finding in findings]))
    else:
        for finding in findings:
            print(finding)
        print(f"{len(findings)} finding{'s' if len(findings) != 1 else ''}.")
    return 1 if any(finding.severity == "error" for finding in findings) else 0


async def _run(options: argparse.Namespace) -> int:
    async with _app(options) as app:
        run = await app.run(
            read_json(options.input), thread_id=options.thread, principal=options.principal, on_event=_progress(options)
        )
        return _print_runs([run], options)


async def _resume(options: argparse.Namespace) -> int:
    extra: dict[str, Any] = {"interrupt_id": options.interrupt, "fresh": options.fresh, "skip": options.skip}
    if options.skip:
        extra["update"] = read_json(options.update)
    if options.answer is not None:
        extra["answer"] = read_json(options.answer)
    async with _app(options) as app:
        return _print_runs([await app.resume(options.thread, on_event=_progress(options), **extra)], options)


async def _recover(options: argparse.Namespace) -> int:
    async with _app(options) as app:
        return _print_runs(await app.recover(on_event=_progress(options)), options)


@contextlib.asynccontextmanager
async def _app(options: argparse.Namespace) -> Any:
    app: App = load_graph(options.graph).compile(checkpointer=options.store, default_model=options.model)
    draining: set[asyncio.Task[None]] = set()

    def drain() -> None:
        draining.add(asyncio.ensure_future(app.drain("SIGTERM")))

    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, drain)
    try:
        yield app
    finally:
        await app.aclose()


def _progress(options: argparse.Namespace) -> Any:
    """Print nodes as they start and end, to standard error of a terminal."""
    if options.json or not sys.stderr.isatty():
        return None

    def listen(event: Any) -> None:
        kind = type(event).__name__
        if kind == "NodeFinished":
            print(f"  {event.node}  {event.seconds:.1f} s", file=sys.stderr)
        elif kind == "NodeRetried":
            print(f"  {event.node}  again in {event.wait_s:.1f} s: {event.reason}", file=sys.stderr)

    return listen


def run_json(run: Run) -> dict[str, Any]:
    """A run as plain data."""
    from pydantic_core import to_jsonable_python

    return {
        "thread": run.thread_id,
        "run": run.run_id,
        "status": run.status,
        "output": to_jsonable_python(run.output, fallback=str),
        "interrupts": to_jsonable_python(list(run.interrupts)),
        "usage": to_jsonable_python(dict(run.usage)),
        "calls": run.calls,
        "calls_from_journal": run.calls_from_journal,
        "error": run.error.to_json() if run.error else None,
        "next": list(run.next),
    }


def _print_runs(runs: list[Run], options: argparse.Namespace) -> int:
    if options.json:
        data = [run_json(run) for run in runs]
        print(json.dumps(data if options.command == "recover" else data[0]))
    else:
        for run in runs:
            _print_run(run)
        if not runs:
            print("Nothing to recover.")
    return max((STATUS_CODES[run.status] for run in runs), default=0)


def _print_run(run: Run) -> None:
    print(
        f"thread {run.thread_id}: {run.status}; {run.calls} calls, {run.calls_from_journal} answered from the journal"
    )
    if run.error is not None:
        print(f"  {run.error}")
    for interrupt in run.interrupts:
        print(
            f"  {interrupt.node} asks: {interrupt.text}\n"
            f"  answer with: vertebra resume ... {run.thread_id} --answer JSON"
        )
    if run.status == "done":
        print(json.dumps(run_json(run)["output"], indent=2, ensure_ascii=False))


async def _cancel(options: argparse.Namespace) -> int:
    with _store(options) as store:
        done = await store.runs.request_cancel(options.thread)
    text = "cancelled" if done else "asked its process to stop"
    print(json.dumps({"thread": options.thread, "cancelled": done}) if options.json else f"{options.thread}: {text}")
    return 0


async def _threads(options: argparse.Namespace) -> int:
    with _store(options) as store:
        records = await store.runs.threads(status=options.status)
    if options.json:
        keys = ("thread", "graph", "version", "status", "run_id", "recoveries", "created_at", "updated_at", "error")
        print(json.dumps([{key: getattr(record, key) for key in keys} for record in records]))
        return 0
    for record in records:
        print(f"{record.thread}  {record.status:<11}  {record.graph} {record.version}  {_time(record.updated_at)}")
    print(f"{len(records)} thread{'s' if len(records) != 1 else ''}.")
    return 0


async def _show(options: argparse.Namespace) -> int:
    with _store(options) as store:
        record = await store.runs.require(options.thread)
        calls = await store.journal.calls(options.thread)
        visits = await store.journal.visits(options.thread)
        done_by_hand = await store.journal.interventions(options.thread)
    if options.json:
        from pydantic_core import to_jsonable_python

        data = {
            "thread": record.thread,
            "status": record.status,
            "error": record.error,
            "story": list(record.story),
            "calls": [_call_json(call) for call in calls],
            "visits": to_jsonable_python(list(visits)),
            "interventions": done_by_hand,
        }
        print(json.dumps(data))
        return 0
    print(f"thread {record.thread}: {record.status}, graph {record.graph} {record.version}")
    for line in record.story:
        print(f"  {_time(float(line['at']))}  {line['died']} died; recovery {line['recovery']}")
    for call in calls:
        _print_call(call, options.full)
    for item in done_by_hand:
        print(f"  by hand: {item['kind']} {item['node']} ({item['principal'] or 'unknown'})")
    return 0


def _call_json(call: CallRecord) -> dict[str, Any]:
    answer = call.answer
    return {
        "node": call.node,
        "step": call.step,
        "visit": call.key.visit,
        "endpoint": call.endpoint,
        "model": call.model,
        "status": call.status,
        "request": call.request,
        "answer": answer.body.decode("utf-8", "replace") if answer else None,
        "input_tokens": answer.input_tokens if answer else None,
        "output_tokens": answer.output_tokens if answer else None,
        "sends": call.sends,
        "lost": call.lost,
        "answered_from_journal": call.replays,
    }


def _print_call(call: CallRecord, full: bool) -> None:
    answer = call.answer
    tokens = f"{answer.input_tokens or 0} + {answer.output_tokens or 0} tokens" if answer else "no answer recorded"
    source = f"provider, then {call.replays}x journal" if call.replays else "provider"
    lost = f", {call.lost} lost" if call.lost else ""
    print(f"  {call.node} @{call.step}  {call.endpoint}  {call.model or ''}  {tokens}  {source}{lost}")
    limit = None if full else 160
    print(f"    asked    {(call.request or '')[:limit]}")
    if answer is not None:
        print(f"    answered {answer.body.decode('utf-8', 'replace')[:limit]!r}")


def _store(options: argparse.Namespace) -> Store:
    path = options.store.removeprefix("sqlite:///").partition("?")[0]
    if options.store.startswith("sqlite:///") and not Path(path).exists():
        raise UsageError(f"There is no file {path!r}.", remedy="name the database with --store.")
    return open_checkpointer(options.store)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


_ASYNC = {
    "run": _run,
    "resume": _resume,
    "recover": _recover,
    "cancel": _cancel,
    "threads": _threads,
    "show": _show,
}
