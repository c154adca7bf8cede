"""State at each edge, the journal of calls and the run records, opened by one URL."""

from vertebra.checkpointers.opening import Store, open_checkpointer
from vertebra.databases.keys import KeyProvider
from vertebra.databases.url import StoreUrl

__all__ = ["KeyProvider", "Store", "StoreUrl", "open_checkpointer"]
