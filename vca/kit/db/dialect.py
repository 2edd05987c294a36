"""psycopg2 in autocommit, under SQLAlchemy, with transactions that begin with a string of ours."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg2.extensions
from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

_OPEN = (
    psycopg2.extensions.TRANSACTION_STATUS_ACTIVE,
    psycopg2.extensions.TRANSACTION_STATUS_INTRANS,
    psycopg2.extensions.TRANSACTION_STATUS_INERROR,
)
_OPENING = "opening"
_CLOSING = "closing"
# What every transaction on a connection sets first, in the same round trip.
FIRST = "first"
NAME = "vca"


class Dialect(PGDialect_psycopg2):
    """psycopg2 in autocommit with transactions that we open and close ourselves."""

    supports_statement_cache = True

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        connection = super().connect(*cargs, **cparams)
        connection.autocommit = True
        return connection

    def on_connect(self) -> Callable[[Any], None]:
        inherited = super().on_connect()  # type: ignore[no-untyped-call] # untyped there

        def prepare(connection: Any) -> None:
            if inherited is not None:
                inherited(connection)
            psycopg2.extensions.register_type(_UUID, connection)

        return prepare

    def do_begin(self, dbapi_connection: Any) -> None:
        statements = dbapi_connection.info.pop(_OPENING, None)
        if statements is not None:
            if first := dbapi_connection.info.get(FIRST):
                statements = statements.replace("BEGIN", f"BEGIN; {first}", 1)
            _send(dbapi_connection, statements)

    def do_commit(self, dbapi_connection: Any) -> None:
        if _in_transaction(dbapi_connection):
            last = dbapi_connection.info.pop(_CLOSING, None)
            _send(dbapi_connection, "COMMIT" if last is None else f"{last}; COMMIT")

    def do_rollback(self, dbapi_connection: Any) -> None:
        if _in_transaction(dbapi_connection):
            dbapi_connection.info.pop(_CLOSING, None)
            _send(dbapi_connection, "ROLLBACK")


registry.register(f"postgresql.{NAME}", __name__, "Dialect")


def opening(connection: Connection, statements: str) -> None:
    """Let the next transaction on `connection` begin with `statements`, in one round trip."""
    connection.connection.info[_OPENING] = statements


def closing(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> None:
    """Let the transaction on `connection` end with a statement, in the round trip of its commit.

    What the statement raises, the commit raises. On another driver it is executed at once.
    """
    if not isinstance(connection.dialect, Dialect):
        connection.exec_driver_sql(statement, dict(parameters))
        return
    pooled: Any = connection.connection
    with pooled.cursor() as cursor:
        pooled.info[_CLOSING] = cursor.mogrify(statement, parameters).decode()


def _send(dbapi_connection: Any, statement: str) -> None:
    with dbapi_connection.cursor() as cursor:
        cursor.execute(statement)


def _in_transaction(dbapi_connection: Any) -> bool:
    return dbapi_connection.get_transaction_status() in _OPEN


def _read_uuid(text: str | None, _: Any) -> UUID | None:
    """psycopg2's own reader accepts every spelling of a UUID; the server writes only one."""
    return None if text is None else UUID(int=int(text.replace("-", ""), 16))


_UUID = psycopg2.extensions.new_type((2950,), "UUID", _read_uuid)
