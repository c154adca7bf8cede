"""Postgres connections of one store, which are there again soon after the server is."""

from __future__ import annotations

import select
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

    @staticmethod
    def check_quietly(connection: Any) -> None:
        """Ask the server only where something has come from it unasked: its farewell, or the end of the connection.

        A question to the server before each use would be half of what a short statement costs.
        """
        if _has_something_to_read(connection.fileno()):
            Pool.check_connection(connection)


def _has_something_to_read(descriptor: int) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
