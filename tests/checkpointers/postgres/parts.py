"""What tests of the Postgres checkpointer look at: the rows of its database."""

from __future__ import annotations

from typing import Any

import psycopg

PIECES = "SELECT coalesce(sum(octet_length(data)), 0)::bigint FROM vertebra_state_pieces"
EVERYTHING = f"""
SELECT ({PIECES}) + coalesce((SELECT sum(octet_length(blob)) FROM checkpoint_blobs), 0)::bigint
    + coalesce((SELECT sum(octet_length(checkpoint::text)) FROM checkpoints), 0)::bigint
"""


def rows(url: str, sql: str, *args: Any) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql, args).fetchall()


def number(url: str, sql: str, *args: Any) -> int:
    return int(rows(url, sql, *args)[0][0])
