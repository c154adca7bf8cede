"""The one place where a database is spoken to: its URL, its transactions, its errors, its migrations."""

from vertebra.databases.database import Database, Row, Tx
from vertebra.databases.failures import closed, driver_errors
from vertebra.databases.migrating import migrate
from vertebra.databases.opening import open_database
from vertebra.databases.url import StoreUrl

__all__ = ["Database", "Row", "StoreUrl", "Tx", "closed", "driver_errors", "migrate", "open_database"]
