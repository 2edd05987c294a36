"""Replaces connections that were lost while they were idle, before anything is sent on them.

A restart of the server, a firewall or a pooler ends idle connections. The server sends nothing to
an idle connection, so a readable socket means that it was closed. Looking at the socket costs no
round trip, and nothing is sent twice: a connection that is lost later, or inside a transaction, is
not replaced.
"""

from time import monotonic
from typing import Any

import psycopg2.extensions
from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from vca.kit.db.catalogue_cache import catalogue_cache_of

_CONNECTED_AT_KEY = "connected_at_s"
_MESSAGE = "the connection was lost while it was idle"


class LostConnections:
    """What one pool knows about lost connections.

    What ended one idle connection has probably ended the others of the pool too, so each one that
    is older than the discovery is discarded when it is next checked out.
    """

    def __init__(self, engine: Engine) -> None:
        self._discovered_at_s = 0.0
        event.listen(engine, "connect", self._record_connection)
        event.listen(engine, "checkout", self._discard_lost)

    def _record_connection(self, driver_connection: Any, entry: ConnectionPoolEntry) -> None:
        entry.info[_CONNECTED_AT_KEY] = monotonic()
        driver_connection.pool_entry, driver_connection.lost_connections = entry, self

    def _discard_lost(self, driver_connection: Any, entry: ConnectionPoolEntry, _: Any) -> None:
        if driver_connection.is_lost():
            self.record_loss(entry)
        elif entry.info[_CONNECTED_AT_KEY] >= self._discovered_at_s:
            return
        raise DisconnectionError(_MESSAGE)

    def record_loss(self, entry: ConnectionPoolEntry) -> None:
        """Discard the other connections too, if this one was opened after the last discovery."""
        if entry.info[_CONNECTED_AT_KEY] >= self._discovered_at_s:
            self._discovered_at_s = monotonic()


def replace_if_lost(connection: PoolProxiedConnection) -> None:
    """Replace a checked-out connection that was lost outside of any transaction.

    Call it immediately before each statement: it does nothing inside a transaction. The SQL that
    is still to be sent moves to the new connection. Raise psycopg2.Error if connecting fails.
    """
    lost: Any = connection.driver_connection
    # If the driver knows that the connection is closed, a statement may have failed on it.
    if (
        lost.closed
        or lost.get_transaction_status() != psycopg2.extensions.TRANSACTION_STATUS_IDLE
        or not lost.is_lost()
    ):
        return
    proxy: Any = connection  # the attributes of its class that are used here are not declared
    entry: Any = lost.pool_entry
    lost.lost_connections.record_loss(entry)
    cache = catalogue_cache_of(entry.info)
    # SQLAlchemy's pool does the same if a connection is rejected when it is checked out.
    entry.invalidate(DisconnectionError(_MESSAGE))
    new: Any = entry.get_connection()
    proxy.dbapi_connection = new
    if cache.current_schema is not None:
        catalogue_cache_of(entry.info).enter_schema(cache.current_schema)
    new.take_unsent_sql(lost)
