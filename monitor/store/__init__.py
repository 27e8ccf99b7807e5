"""ClickHouse: connection, numbered migrations, the write path's SQL, the read-only endpoint."""

from monitor.store.client import Client, connect, is_embedded

__all__ = ["Client", "connect", "is_embedded"]
