"""What an app's runs share: store, door, clock, models, threads for nodes written as ``def``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from vertebra.checkpointers.opening import Store
from vertebra.memory import Memory
from vertebra.ports import Clock
from vertebra.runtime.door import Door
from vertebra.runtime.sending import HttpSender

NODE_THREADS = 32
MAX_RECOVERIES = 5
LEASE_TTL_S = 30.0


@dataclass
class AppServices:
    """Made by ``App.create``; closed with the app."""

    store: Store
    door: Door
    clock: Clock
    models: Mapping[str, str]
    default_model: str | None
    memory: Memory | None = None
    lease_ttl_s: float = LEASE_TTL_S
    max_recoveries: int = MAX_RECOVERIES
    max_journal_bytes: int | None = None
    _executor: ThreadPoolExecutor | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads for sync nodes: our own, since a node may wait here for work on the loop's default ones."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(NODE_THREADS, "vertebra-node")
            return self._executor

    def openai_client(self, find: Callable[[], Any], *, sync: bool) -> Any:
        """The official client, its requests led through the door, its own retries off."""
        import openai

        from vertebra.runtime.transport import client_for

        options: dict[str, Any] = {"max_retries": 0, "http_client": client_for(find, sync=sync)}
        if not os.environ.get("OPENAI_API_KEY"):
            # Replay needs no key, local servers want none; a provider that does answers 401 and says so.
            options["api_key"] = "not-set"
        return openai.OpenAI(**options) if sync else openai.AsyncOpenAI(**options)

    def close(self) -> None:
        sender = self.door.parts.sender
        if isinstance(sender, HttpSender):  # of a given one only ``aclose`` is known
            sender.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
