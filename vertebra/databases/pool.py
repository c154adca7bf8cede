"""Postgres connections of one store, which are there again soon after the server is."""

from __future__ import annotations

from typing import Any

from psycopg_pool import ConnectionPool, PoolTimeout

RECONNECT_S = 10.0


class Pool(ConnectionPool[Any]):
    """psycopg's pool waits longer and longer between attempts to connect, for five minutes.

    Whoever asked meanwhile would be told that there is no server when it has long been back. Here a round of attempts
    is given up early, and whoever waits begins the next.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, reconnect_timeout=RECONNECT_S, **kwargs)

    def getconn(self, timeout: float | None = None) -> Any:
        whole_s = self.timeout if timeout is None else timeout
        try:
            return super().getconn(whole_s / 2)
        except PoolTimeout:
            return super().getconn(whole_s / 2)
