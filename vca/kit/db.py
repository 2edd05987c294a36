"""The database: one engine a process, bounded waits, a breaker, no transaction by accident.

psycopg2 runs in autocommit. A transaction begins with one string (its *opening*), sent when
SQLAlchemy begins, so that choosing a tenant costs no round trip of its own; without an opening a
statement is its own transaction.
"""

import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg2.extensions
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vca.kit import deadline, json
from vca.kit.errors import Unavailable

NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}
CONNECT_TIMEOUT_S = 2
WAIT_S = 4.0
LEAST_WAIT_S = 0.25
STATEMENT_TIMEOUT_MS = 4_000
LOCK_TIMEOUT_MS = 2_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
POOL_TIMEOUT_S = 2
RETRY_AFTER_S = 2
_OPEN = (
    psycopg2.extensions.TRANSACTION_STATUS_ACTIVE,
    psycopg2.extensions.TRANSACTION_STATUS_INTRANS,
    psycopg2.extensions.TRANSACTION_STATUS_INERROR,
)
_longest_wait: ContextVar[float] = ContextVar("longest_wait", default=WAIT_S)
_OPENING = "opening"
_TENANTS = "tenants"


class DatabaseUnavailable(Unavailable):
    """The database is down, frozen, or has no connection to spare."""

    code = "database-unavailable"

    def __init__(self) -> None:
        super().__init__("The database does not answer.", retry_after_s=RETRY_AFTER_S)


class _DeadlinePassed(psycopg2.OperationalError):  # type: ignore[misc] # no stubs
    """The request's budget was spent waiting for the server."""


def metadata(schema: str | None = None) -> MetaData:
    """Metadata in which every constraint has a name (Citus needs names, and so do migrations)."""
    return MetaData(schema=schema, naming_convention=NAMING)


def _wait(connection: Any) -> None:
    """Wait for the server, no longer than the request's deadline.

    The server's own statement_timeout cannot help when the server is frozen, and the kernel
    still acknowledges its TCP; psycopg2 closes a connection whose wait callback raises.
    """
    poller = select.poll()
    registered = None
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        wanted = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        if registered != (connection.fileno(), wanted):
            registered = (connection.fileno(), wanted)
            poller.register(*registered)
        if not poller.poll(_patience_s(connection) * 1000):
            raise _DeadlinePassed("the server did not answer in time")


def _patience_s(connection: Any) -> float:
    """How long this wait may last; libpq's connect_timeout does not hold for a polled connect.

    A budget that was spent elsewhere, on a busy machine, does not prove that the server is away.
    """
    connecting = connection.status == psycopg2.extensions.STATUS_SETUP
    longest = CONNECT_TIMEOUT_S if connecting else _longest_wait.get()
    left = deadline.remaining_s()
    return longest if left is None else max(LEAST_WAIT_S, min(longest, left))


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let single statements inside take up to `seconds`: migrations, not requests."""
    token = _longest_wait.set(seconds)
    try:
        yield
    finally:
        _longest_wait.reset(token)


psycopg2.extensions.set_wait_callback(_wait)


def _read_uuid(text: str | None, _: Any) -> UUID | None:
    """psycopg2's own reader accepts every spelling of a UUID; the server writes only one."""
    return None if text is None else UUID(int=int(text.replace("-", ""), 16))


_UUID = psycopg2.extensions.new_type((2950,), "UUID", _read_uuid)


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
        opening = dbapi_connection.info.pop(_OPENING, None)
        if opening is not None:
            _send(dbapi_connection, opening)

    def do_commit(self, dbapi_connection: Any) -> None:
        if _in_transaction(dbapi_connection):
            _send(dbapi_connection, "COMMIT")

    def do_rollback(self, dbapi_connection: Any) -> None:
        if _in_transaction(dbapi_connection):
            _send(dbapi_connection, "ROLLBACK")


registry.register("postgresql.vca", __name__, "Dialect")


def _send(dbapi_connection: Any, statement: str) -> None:
    with dbapi_connection.cursor() as cursor:
        cursor.execute(statement)


def _in_transaction(dbapi_connection: Any) -> bool:
    return dbapi_connection.get_transaction_status() in _OPEN


class Breaker:
    """Lets one request at a time find out whether a failing server is back.

    Without it every thread would wait out its own deadline against a frozen server, and requests
    queued behind them would wait for several.
    """

    def __init__(self, *, pause_s: float = 0.5) -> None:
        self._pause_s = pause_s
        self._closed_again_at = 0.0
        self._tripped = False
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Raise DatabaseUnavailable while tripped, but let one caller through each pause."""
        if not self._tripped:
            return
        with self._lock:
            if self._tripped and monotonic() < self._closed_again_at:
                raise DatabaseUnavailable
            self._closed_again_at = monotonic() + CONNECT_TIMEOUT_S + self._pause_s

    def failed(self) -> None:
        with self._lock:
            self._tripped = True
            self._closed_again_at = monotonic() + self._pause_s

    def succeeded(self) -> None:
        self._tripped = False


_FAILURES = (
    OperationalError,
    InterfaceError,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
)


class Database:
    """One process's way to one database."""

    def __init__(self, dsn: str, *, pool_size: int = 5, tenants_per_connection: int = 200) -> None:
        self.dsn = dsn
        self.breaker = Breaker()
        self.engine = _engine(dsn, pool_size)
        _retire_after(self.engine, tenants_per_connection)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A pooled connection, outside any transaction until one is opened.

        Raises DatabaseUnavailable when the server is away, also in the middle of the block.
        """
        self.breaker.enter()
        try:
            with self.engine.connect() as connection:
                yield connection
        except _FAILURES as error:
            if is_outage(error):
                self.breaker.failed()
            raise DatabaseUnavailable from error
        except PoolTimeout as error:
            raise DatabaseUnavailable from error
        self.breaker.succeeded()

    def close(self) -> None:
        self.engine.dispose()


def opening(connection: Connection, statements: str) -> None:
    """Let the next transaction on `connection` begin with `statements`, in one round trip."""
    connection.connection.info[_OPENING] = statements


def run_one(
    connection: Connection, statement: str, parameters: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """The first row of one autocommitted statement, on a connection that is in no transaction.

    Past SQLAlchemy, which spends more on such a statement than the server does: for those that
    every request begins with.
    """
    pooled: Any = connection.connection
    with pooled.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def note_tenant(connection: Connection, name: str) -> None:
    """Count `name` among the schemas that this server process has cached."""
    connection.connection.info.setdefault(_TENANTS, set()).add(name)


def is_outage(error: BaseException) -> bool:
    """Whether the server itself is away, rather than one statement refused."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or error.orig is None or sqlstate(error) is None
    return getattr(error, "pgcode", None) is None


def sqlstate(error: DBAPIError) -> str | None:
    """The five characters of the server's complaint; None when it was not the server's."""
    return getattr(error.orig, "pgcode", None)


def constraint(error: DBAPIError) -> str | None:
    """The name of the constraint that refused the row, if one did."""
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None)


def _engine(dsn: str, pool_size: int) -> Engine:
    engine = create_engine(
        make_url(dsn).set(drivername="postgresql+vca"),
        pool_size=pool_size,
        max_overflow=0,
        # The connection used last knows most tenants' tables; the others may cool down.
        pool_use_lifo=True,
        pool_timeout=POOL_TIMEOUT_S,
        pool_recycle=1800,
        hide_parameters=True,
        use_native_hstore=False,
        json_serializer=lambda value: json.dumps(value).decode(),
        json_deserializer=json.loads,
        connect_args={
            "application_name": "vca",
            "options": f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS}"
            f" -c lock_timeout={LOCK_TIMEOUT_MS}"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}",
        },
    )

    event.listen(engine, "checkout", _refuse_a_dead_connection)
    return engine


def _refuse_a_dead_connection(dbapi_connection: Any, *_: Any) -> None:
    """A pre-ping without the round trip.

    An idle connection has nothing to say: if its socket can be read, the server has closed it.
    """
    if dbapi_connection.closed or _readable(dbapi_connection.fileno()):
        raise DisconnectionError("the server closed this connection while it was idle")


def _readable(fileno: int) -> bool:
    poller = select.poll()
    poller.register(fileno, select.POLLIN)
    return bool(poller.poll(0))


def _retire_after(engine: Engine, tenants: int) -> None:
    """A server process keeps 0.2 MiB of catalogue for each schema it ever saw; end it in time."""

    @event.listens_for(engine, "checkin")
    def _retire(_: Any, record: Any) -> None:
        if len(record.info.get(_TENANTS, ())) > tenants:
            record.invalidate()


_current: Database | None = None


def use(database: Database) -> Database:
    """Make `database` the process's own; returns it."""
    global _current
    _current = database
    return database


def current() -> Database:
    """The process's database; raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("no database is configured in this process")
    return _current
