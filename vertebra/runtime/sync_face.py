"""The sync face of an app: each async method once more, driven on a background loop."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vertebra.runtime import events, portal
from vertebra.types import PastRun, Pruned, Run, ThreadTree, Verification

if TYPE_CHECKING:
    from vertebra.graphs.pictures import Picture
    from vertebra.runtime.steps import Steps


class SyncFace:
    """Methods named ``*_sync``, with the arguments of the async ones. Safe from any thread but an event loop's."""

    def run_sync(self, input: Any = None, **options: Any) -> Run:
        """``run`` for sync code."""
        run: Run = _call(self, "run", input, **options)
        return run

    def resume_sync(self, thread_id: str, *answer: Any, **options: Any) -> Run:
        """``resume`` for sync code."""
        run: Run = _call(self, "resume", thread_id, *answer, **options)
        return run

    def recover_sync(self, thread_id: str | None = None, **options: Any) -> list[Run]:
        """``recover`` for sync code."""
        runs: list[Run] = _call(self, "recover", thread_id, **options)
        return runs

    def fork_sync(self, thread: str, **options: Any) -> Run:
        """``fork`` for sync code."""
        run: Run = _call(self, "fork", thread, **options)
        return run

    def tree_sync(self, thread_id: str) -> ThreadTree:
        """``tree`` for sync code."""
        tree: ThreadTree = _call(self, "tree", thread_id)
        return tree

    def steps_sync(self, thread_id: str) -> Steps:
        """``steps`` for sync code."""
        steps: Steps = _call(self, "steps", thread_id)
        return steps

    def verify_sync(self, thread: str | Mapping[str, Any]) -> Verification:
        """``verify`` for sync code."""
        found: Verification = _call(self, "verify", thread)
        return found

    def export_sync(self, thread_id: str) -> dict[str, Any]:
        """``export`` for sync code."""
        data: dict[str, Any] = _call(self, "export", thread_id)
        return data

    def cancel_sync(self, thread_id: str) -> bool:
        """``cancel`` for sync code."""
        done: bool = _call(self, "cancel", thread_id)
        return done

    def status_sync(self, thread_id: str) -> Run:
        """``status`` for sync code."""
        run: Run = _call(self, "status", thread_id)
        return run

    def past_sync(self, **options: Any) -> Sequence[PastRun]:
        """``past`` for sync code."""
        runs: Sequence[PastRun] = _call(self, "past", **options)
        return runs

    def draw_sync(self, thread_id: str, **options: Any) -> Picture:
        """``draw`` for sync code."""
        picture: Picture = _call(self, "draw", thread_id, **options)
        return picture

    def delete_sync(self, thread_id: str) -> None:
        """``delete`` for sync code."""
        _call(self, "delete", thread_id)

    def prune_sync(self, **options: Any) -> Pruned:
        """``prune`` for sync code."""
        pruned: Pruned = _call(self, "prune", **options)
        return pruned

    def drain_sync(self, reason: str = "shutdown") -> None:
        """``drain`` for sync code."""
        _call(self, "drain", reason)

    def events_sync(self, *input: Any, **options: Any) -> Iterator[events.Event]:
        """``events`` for sync code: a plain iterator."""
        yield from portal.runs.iterate(functools.partial(self.events, *input, **options))  # type: ignore[attr-defined]

    def history_sync(self, thread_id: str, **options: Any) -> list[Any]:
        """``history`` for sync code: a list, latest first."""
        return list(portal.runs.iterate(functools.partial(self.history, thread_id, **options)))  # type: ignore[attr-defined]


def _call(app: Any, method: str, *args: Any, **options: Any) -> Any:
    return portal.runs.call(functools.partial(getattr(app, method), *args, **options))
