"""psycopg2 in autocommit mode under SQLAlchemy; the caller defines how a transaction begins."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg2.extensions
from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from typing_extensions import override

_TRANSACTION_STATUSES = (
    psycopg2.extensions.TRANSACTION_STATUS_ACTIVE,
    psycopg2.extensions.TRANSACTION_STATUS_INTRANS,
    psycopg2.extensions.TRANSACTION_STATUS_INERROR,
)
_BEGIN_SQL_KEY = "begin_sql"
_COMMIT_SQL_KEY = "commit_sql"
# Key of the settings that each transaction on a connection sets right after BEGIN.
SESSION_SETTINGS_KEY = "session_settings"
NAME = "vca"


class Dialect(PGDialect_psycopg2):
    """The psycopg2 dialect in autocommit mode, with explicit BEGIN, COMMIT and ROLLBACK."""

    supports_statement_cache = True

    @override
    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        connection = super().connect(*cargs, **cparams)
        connection.autocommit = True
        return connection

    @override
    def on_connect(self) -> Callable[[Any], None]:
        inherited = super().on_connect()  # type: ignore[no-untyped-call] # untyped there

        def prepare(connection: Any) -> None:
            if inherited is not None:
                inherited(connection)
            psycopg2.extensions.register_type(_UUID, connection)

        return prepare

    @override
    def do_begin(self, dbapi_connection: Any) -> None:
        statements = dbapi_connection.info.pop(_BEGIN_SQL_KEY, None)
        if statements is not None:
            if session_settings := dbapi_connection.info.get(SESSION_SETTINGS_KEY):
                statements = statements.replace("BEGIN", f"BEGIN; {session_settings}", 1)
            _execute(dbapi_connection, statements)

    @override
    def do_commit(self, dbapi_connection: Any) -> None:
        if _in_transaction(dbapi_connection):
            commit_sql = dbapi_connection.info.pop(_COMMIT_SQL_KEY, None)
            _execute(dbapi_connection, "COMMIT" if commit_sql is None else f"{commit_sql}; COMMIT")

    @override
    def do_rollback(self, dbapi_connection: Any) -> None:
        if _in_transaction(dbapi_connection):
            dbapi_connection.info.pop(_COMMIT_SQL_KEY, None)
            _execute(dbapi_connection, "ROLLBACK")


registry.register(f"postgresql.{NAME}", __name__, "Dialect")


def set_begin_sql(connection: Connection, statements: str) -> None:
    """Set the SQL that begins the next transaction on `connection`, in one round trip."""
    connection.connection.info[_BEGIN_SQL_KEY] = statements


def set_commit_sql(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> None:
    """Set a statement to run in the same round trip as the commit of the transaction.

    If the statement fails, the commit raises its error. Other drivers execute the statement
    immediately.
    """
    if not isinstance(connection.dialect, Dialect):
        connection.exec_driver_sql(statement, dict(parameters))
        return
    dbapi_connection: Any = connection.connection
    with dbapi_connection.cursor() as cursor:
        dbapi_connection.info[_COMMIT_SQL_KEY] = cursor.mogrify(statement, parameters).decode()


def _execute(dbapi_connection: Any, statement: str) -> None:
    with dbapi_connection.cursor() as cursor:
        cursor.execute(statement)


def _in_transaction(dbapi_connection: Any) -> bool:
    return dbapi_connection.get_transaction_status() in _TRANSACTION_STATUSES


def _read_uuid(text: str | None, _: Any) -> UUID | None:
    """Parse a UUID; faster than psycopg2's reader, because the server writes only one spelling."""
    return None if text is None else UUID(int=int(text.replace("-", ""), 16))


_UUID = psycopg2.extensions.new_type((2950,), "UUID", _read_uuid)
