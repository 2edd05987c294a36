"""psycopg2 in autocommit mode under SQLAlchemy; the caller defines how a transaction begins.

The SQL that begins a transaction is sent with its first statement, and a statement whose result
nobody needs with the next one, so that a short transaction takes two round trips.
"""

import os
import re
import select
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import (
    PGDialect_psycopg2,
    PGExecutionContext_psycopg2,
)
from sqlalchemy.pool import ConnectionPoolEntry
from typing_extensions import override

from vca.kit.db.errors import LOST_WHILE_IDLE
from vca.kit.db.lost_connections import LostConnections, replace_if_lost

_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE
_TRANSACTION_STATUSES = (
    psycopg2.extensions.TRANSACTION_STATUS_ACTIVE,
    psycopg2.extensions.TRANSACTION_STATUS_INTRANS,
    psycopg2.extensions.TRANSACTION_STATUS_INERROR,
)
# The field of an ErrorResponse with the SQLSTATE.
# https://www.postgresql.org/docs/current/protocol-error-fields.html
_SQLSTATE_FIELD = re.compile(rb"\0C([0-9A-Z]{5})\0")
_MAX_ERROR_BYTES = 8_192
# Key of the settings that each transaction on a connection sets right after BEGIN.
SESSION_SETTINGS_KEY = "session_settings"
NAME = "vca"


class _Connection(psycopg2.extensions.connection):  # type: ignore[misc] # no stubs
    """A connection that sends deferred SQL together with the next statement of the transaction."""

    next_begin_sql: str | None = None
    """The SQL that begins the next transaction."""
    begins: bool = False
    """Whether the deferred SQL starts with that of BEGIN."""
    first_statement_failed: bool = False
    """Whether the statement failed that was sent with the SQL of BEGIN."""
    prepared_names: set[str] | None = None
    """The prepared statements of the connection; None if it prepares none."""

    pool_entry: ConnectionPoolEntry
    lost_connections: LostConnections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deferred_sql: list[str] = []
        """The statements to send before the next one."""
        self._poller: select.poll | None = None

    def begin(self, begin_sql: str) -> None:
        """Begin a transaction with this SQL, which is sent with its first statement."""
        self.deferred_sql, self.begins = [begin_sql], True
        self.first_statement_failed = False

    def discard_sql(self) -> None:
        """Send nothing of a transaction in the next one, which can be another tenant's."""
        self.next_begin_sql, self.deferred_sql, self.begins = None, [], False

    def take_unsent_sql(self, other: "_Connection") -> None:
        """Take over the SQL that the `other` connection has not sent yet."""
        self.next_begin_sql, self.deferred_sql = other.next_begin_sql, other.deferred_sql
        self.begins = other.begins

    def is_lost(self) -> bool:
        """Return whether the connection is closed; call it only while no statement runs."""
        return bool(self.closed or self.read_poller().poll(0))

    def read_poller(self) -> select.poll:
        """Return an object that polls whether the established connection can be read."""
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(self.fileno(), select.POLLIN)
        return self._poller

    def read_final_state(self) -> str:
        """Return the SQLSTATE with which the server closed the connection, or an empty string.

        psycopg2 does not report it, and sending to a closed connection can lose the message. Over
        TLS it is unknown.
        """
        with socket.socket(fileno=os.dup(self.fileno())) as duplicate:
            try:
                message = duplicate.recv(_MAX_ERROR_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except OSError:
                return ""
        match = _SQLSTATE_FIELD.search(message)
        return match[1].decode() if match else ""


class _Cursor(psycopg2.extensions.cursor):  # type: ignore[misc] # no stubs
    """A cursor that sends the connection's deferred SQL first."""

    connection: _Connection

    @override
    def execute(self, query: Any, vars: Any = None) -> None:
        connection = self.connection
        was_lost = not connection.closed and connection.is_lost()
        final_state = connection.read_final_state() if was_lost else ""
        try:
            self._send(query, vars)
        except psycopg2.Error as error:
            if was_lost and connection.closed:
                setattr(error, LOST_WHILE_IDLE, final_state)
            raise

    def _send(self, query: Any, vars: Any) -> None:
        connection = self.connection
        if not connection.deferred_sql:
            super().execute(query, vars)
            return
        # The values are inserted first: the deferred SQL may contain a percent sign. If that fails,
        # BEGIN is still to be sent: the next statement would run outside the transaction.
        statement = self.mogrify(query, vars).decode()
        deferred_sql, connection.deferred_sql = connection.deferred_sql, []
        begins, connection.begins = connection.begins, False
        try:
            super().execute("; ".join((*deferred_sql, statement)))
        except psycopg2.Error:
            connection.first_statement_failed = begins
            if begins and connection.get_transaction_status() == _IDLE:
                # The server could not parse the string, and executed nothing of it.
                connection.deferred_sql, connection.begins = deferred_sql, True
            raise

    @override
    def executemany(self, query: Any, vars_list: Iterable[Any]) -> None:
        if self.connection.deferred_sql:
            self.execute("SELECT")
        super().executemany(query, vars_list)


class _ExecutionContext(PGExecutionContext_psycopg2):
    @override
    def create_cursor(self) -> Any:
        # The statement is sent immediately after this.
        replace_if_lost(self.root_connection.connection)
        return super().create_cursor()


class Dialect(PGDialect_psycopg2):
    """The psycopg2 dialect in autocommit mode, with explicit BEGIN, COMMIT and ROLLBACK."""

    supports_statement_cache = True
    execution_ctx_cls = _ExecutionContext

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
        if _in_transaction(dbapi_connection) or driver_connection.deferred_sql:
            try:
                replace_if_lost(dbapi_connection)
                _execute(dbapi_connection, "COMMIT")
            except psycopg2.Error:
                # SQLAlchemy does not roll back after a failed commit.
                self.do_rollback(dbapi_connection)
                raise

    @override
    def do_rollback(self, dbapi_connection: Any) -> None:
        if (driver_connection := dbapi_connection.driver_connection) is None:
            return  # it was lost, and could not be replaced
        driver_connection.discard_sql()
        if _in_transaction(dbapi_connection):
            _execute(dbapi_connection, "ROLLBACK")

    @override
    def do_rollback_to_savepoint(self, connection: Connection, name: str) -> None:
        # The savepoint was sent with all that was deferred before it.
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.deferred_sql.clear()
        super().do_rollback_to_savepoint(connection, name)  # type: ignore[no-untyped-call]


registry.register(f"postgresql.{NAME}", __name__, "Dialect")


def set_begin_sql(connection: Connection, statements: str) -> None:
    """Set the SQL that begins the next transaction on `connection`.

    It is sent with the transaction's first statement. If it fails, that statement raises its error
    and was not executed. Other drivers begin a transaction by themselves.
    """
    if isinstance(connection.dialect, Dialect):
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.next_begin_sql = statements


def defer_statement(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> None:
    """Send a statement together with the next one of the transaction, or with its commit.

    It costs no round trip of its own, and its result is discarded. If it fails, the next statement
    raises its error. Other drivers execute it immediately.
    """
    if not isinstance(connection.dialect, Dialect):
        connection.exec_driver_sql(statement, dict(parameters))
        return
    driver_connection: Any = connection.connection.driver_connection
    with driver_connection.cursor() as cursor:
        driver_connection.deferred_sql.append(cursor.mogrify(statement, parameters).decode())


def run_transaction(
    connection: Connection, begin_sql: str, statements: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Execute a whole transaction in one round trip; return the rows of its last statement.

    `begin_sql` begins with BEGIN. It is left out, because the server executes statements that
    arrive as one string in one transaction, and commits or rolls it back by itself. Raises
    psycopg2.Error.
    """
    cursor = open_cursor(connection)
    session_settings = connection.connection.info.get(SESSION_SETTINGS_KEY)
    start_sql = [session_settings] if session_settings else []
    start_sql.append(begin_sql.removeprefix("BEGIN; "))
    with cursor:
        # The values are inserted first: the SQL before the statements may contain a percent sign.
        sql = cursor.mogrify(statements, parameters).decode()
        cursor.execute("; ".join((*start_sql, sql)))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def open_cursor(connection: Connection) -> Any:
    """Return a cursor of the driver, for a statement that is executed immediately."""
    pool_connection = connection.connection
    replace_if_lost(pool_connection)
    return pool_connection.cursor()


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
