"""psycopg2 in autocommit mode under SQLAlchemy; the caller defines how a transaction begins.

The SQL that begins a transaction is sent with its first statement, and SQL can be sent with its
COMMIT, so that a short transaction takes two round trips.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from typing_extensions import override

_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE
_TRANSACTION_STATUSES = (
    psycopg2.extensions.TRANSACTION_STATUS_ACTIVE,
    psycopg2.extensions.TRANSACTION_STATUS_INTRANS,
    psycopg2.extensions.TRANSACTION_STATUS_INERROR,
)
# Key of the settings that each transaction on a connection sets right after BEGIN.
SESSION_SETTINGS_KEY = "session_settings"
NAME = "vca"


class _Connection(psycopg2.extensions.connection):  # type: ignore[misc] # no stubs
    """A connection that sends the SQL of BEGIN with the first statement of the transaction."""

    next_begin_sql: str | None = None
    """The SQL that begins the next transaction."""
    begin_sql: str = ""
    """The SQL to send before the next statement."""
    commit_sql: tuple[str, ...] = ()
    """The statements to send with the COMMIT of the transaction."""
    commit_sql_at_savepoints: Mapping[str, tuple[str, ...]] = {}
    """Those statements as they were at each savepoint, by its name."""
    first_statement_failed: bool = False
    """Whether the statement failed that was sent with the SQL of BEGIN."""

    def begin(self, begin_sql: str) -> None:
        """Send this SQL with the next statement."""
        self.begin_sql = begin_sql
        self.first_statement_failed = False

    def discard_sql(self) -> None:
        """Send nothing of a transaction in the next one, which can be another tenant's."""
        self.next_begin_sql, self.begin_sql = None, ""
        self.commit_sql, self.commit_sql_at_savepoints = (), {}

    def take_begin_sql(self) -> str:
        """Return the SQL to send now, once."""
        begin_sql, self.begin_sql = self.begin_sql, ""
        return begin_sql

    def take_commit_sql(self) -> tuple[str, ...]:
        """Return the statements to send with the COMMIT, once."""
        commit_sql = self.commit_sql
        self.commit_sql, self.commit_sql_at_savepoints = (), {}
        return commit_sql


class _Cursor(psycopg2.extensions.cursor):  # type: ignore[misc] # no stubs
    """A cursor that sends the connection's pending SQL of BEGIN first."""

    connection: _Connection

    @override
    def execute(self, query: Any, vars: Any = None) -> None:
        if not self.connection.begin_sql:
            super().execute(query, vars)
            return
        # The values are inserted first: BEGIN's SQL may contain a percent sign. If that fails,
        # BEGIN is still to be sent: the next statement would run outside the transaction.
        statement = self.mogrify(query, vars).decode()
        begin_sql = self.connection.take_begin_sql()
        try:
            super().execute(f"{begin_sql}; {statement}")
        except psycopg2.Error:
            self.connection.first_statement_failed = True
            if self.connection.get_transaction_status() == _IDLE:
                # The server could not parse the string, and executed nothing of it.
                self.connection.begin_sql = begin_sql
            raise

    @override
    def executemany(self, query: Any, vars_list: Iterable[Any]) -> None:
        self._begin()
        super().executemany(query, vars_list)

    def _begin(self) -> None:
        if self.connection.begin_sql:
            self.execute("SELECT")


class Dialect(PGDialect_psycopg2):
    """The psycopg2 dialect in autocommit mode, with explicit BEGIN, COMMIT and ROLLBACK."""

    supports_statement_cache = True

    @override
    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        connection = super().connect(
            *cargs, **cparams, connection_factory=_Connection, cursor_factory=_Cursor
        )
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
        driver_connection = dbapi_connection.driver_connection
        statements, driver_connection.next_begin_sql = driver_connection.next_begin_sql, None
        if statements is not None:
            if session_settings := dbapi_connection.info.get(SESSION_SETTINGS_KEY):
                statements = statements.replace("BEGIN", f"BEGIN; {session_settings}", 1)
            driver_connection.begin(statements)

    @override
    def do_commit(self, dbapi_connection: Any) -> None:
        driver_connection = dbapi_connection.driver_connection
        if _in_transaction(dbapi_connection) or driver_connection.begin_sql:
            commit_sql = driver_connection.take_commit_sql()
            try:
                _execute(dbapi_connection, "; ".join((*commit_sql, "COMMIT")))
            except psycopg2.Error:
                # SQLAlchemy does not roll back after a failed commit.
                if _in_transaction(dbapi_connection):
                    _execute(dbapi_connection, "ROLLBACK")
                raise

    @override
    def do_rollback(self, dbapi_connection: Any) -> None:
        dbapi_connection.driver_connection.discard_sql()
        if _in_transaction(dbapi_connection):
            _execute(dbapi_connection, "ROLLBACK")

    @override
    def do_savepoint(self, connection: Connection, name: str) -> None:
        super().do_savepoint(connection, name)  # type: ignore[no-untyped-call] # untyped there
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.commit_sql_at_savepoints = {
            **driver_connection.commit_sql_at_savepoints,
            name: driver_connection.commit_sql,
        }

    @override
    def do_rollback_to_savepoint(self, connection: Connection, name: str) -> None:
        super().do_rollback_to_savepoint(connection, name)  # type: ignore[no-untyped-call]
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.commit_sql = driver_connection.commit_sql_at_savepoints[name]


registry.register(f"postgresql.{NAME}", __name__, "Dialect")


def set_begin_sql(connection: Connection, statements: str) -> None:
    """Set the SQL that begins the next transaction on `connection`.

    It is sent with the transaction's first statement. If it fails, that statement raises its error
    and was not executed. Other drivers begin a transaction by themselves.
    """
    if isinstance(connection.dialect, Dialect):
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.next_begin_sql = statements


def set_commit_sql(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> None:
    """Add a statement to run in the same round trip as the commit of the transaction.

    If the statement fails, the commit raises its error. A statement that was added inside a
    savepoint is dropped if the savepoint is rolled back. Other drivers execute the statement
    immediately.
    """
    if not isinstance(connection.dialect, Dialect):
        connection.exec_driver_sql(statement, dict(parameters))
        return
    driver_connection: Any = connection.connection.driver_connection
    with driver_connection.cursor() as cursor:
        sql = cursor.mogrify(statement, parameters).decode()
    driver_connection.commit_sql = (*driver_connection.commit_sql, sql)


def first_statement_failed(connection: Connection) -> bool:
    """Return whether the first statement of the transaction failed, or the SQL of its BEGIN.

    The result is False if the connection was lost.
    """
    if connection.invalidated:
        return False
    driver_connection: Any = connection.connection.driver_connection
    return bool(driver_connection.first_statement_failed)


def _execute(dbapi_connection: Any, statement: str) -> None:
    with dbapi_connection.cursor() as cursor:
        cursor.execute(statement)


def _in_transaction(dbapi_connection: Any) -> bool:
    return dbapi_connection.get_transaction_status() in _TRANSACTION_STATUSES


def _read_uuid(text: str | None, _: Any) -> UUID | None:
    """Parse a UUID; faster than psycopg2's reader, because the server writes only one spelling."""
    return None if text is None else UUID(int=int(text.replace("-", ""), 16))


_UUID = psycopg2.extensions.new_type((2950,), "UUID", _read_uuid)
