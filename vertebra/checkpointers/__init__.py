"""State at each edge, the journal of calls and the run records, opened by one URL."""

from vertebra.checkpointers.opening import Store, open_checkpointer
from vertebra.databases.url import StoreUrl

__all__ = ["Store", "StoreUrl", "open_checkpointer"]
