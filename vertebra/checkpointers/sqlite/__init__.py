"""State in one SQLite file: pieces that are stored once, one commit a superstep."""

from vertebra.checkpointers.sqlite.saver import SqliteCheckpointer

__all__ = ["SqliteCheckpointer"]
