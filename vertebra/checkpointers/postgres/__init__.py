"""State in Postgres: LangGraph's own tables, with pieces beside them that are stored once."""

from vertebra.checkpointers.postgres.saver import PostgresCheckpointer

__all__ = ["PostgresCheckpointer"]
