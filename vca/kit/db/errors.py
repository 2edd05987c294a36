"""Database failures: an outage, a server that is too busy, and everything else as it is."""

import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vca.kit.errors import Unavailable
from vca.kit.postgres_errors import message, sqlstate

__all__ = [
    "DatabaseBusy",
    "DatabaseFailure",
    "DatabaseUnavailable",
    "ServerNotResponding",
    "constraint_name",
    "failure_for",
    "is_outage",
    "is_outage_state",
    "sqlstate",
]

UNAVAILABLE_RETRY_AFTER_S = 2
BUSY_RETRY_AFTER_S = 1
# 57P01 to 57P03: the server is shut down, has crashed or is starting. 53300: too many connections.
# 08: connection exceptions. https://www.postgresql.org/docs/current/errcodes-appendix.html
_OUTAGE_STATES = ("57P01", "57P02", "57P03", "53300")
_CONNECTION_EXCEPTIONS = "08"
# 57014: statement timeout. 55P03: lock timeout. 25P03: idle-in-transaction timeout.
_BUSY_STATES = ("57014", "55P03", "25P03")
# The server's text of 25P03, which ends the connection and so arrives without its SQLSTATE. In
# another `lc_messages` it differs; the error is an outage then.
_IDLE_IN_TRANSACTION = "idle-in-transaction timeout"


class DatabaseFailure(Unavailable):
    """The database could not serve this request; the same request may succeed later."""


class DatabaseUnavailable(DatabaseFailure):
    """The database is down, frozen, or has no connection to spare."""

    code = "database-unavailable"

    def __init__(self) -> None:
        super().__init__("The database does not answer.", retry_after_s=UNAVAILABLE_RETRY_AFTER_S)


class DatabaseBusy(DatabaseFailure):
    """The server answered, and ended a statement, a lock wait or an idle transaction in time."""

    code = "database-busy"

    def __init__(self) -> None:
        super().__init__(
            "The database was too busy to finish this; try again.",
            retry_after_s=BUSY_RETRY_AFTER_S,
        )


class ServerNotResponding(psycopg2.OperationalError):  # type: ignore[misc] # no stubs
    """We stopped waiting for the server.

    `proven` when the wait was longer than the server ever needs, so that the server is to blame
    and not a budget that was spent elsewhere.
    """

    def __init__(self, *, server_at_fault: bool) -> None:
        super().__init__("the server did not answer in time")
        self.server_at_fault = server_at_fault


def failure_for(error: BaseException) -> DatabaseFailure | None:
    """Return the failure that a driver's or the pool's error stands for.

    None for all other errors: they are faults of ours or of the server's set-up, not of the moment.
    """
    if isinstance(error, PoolTimeout) or _is_outage_or_client_timeout(error):
        return DatabaseUnavailable()
    if sqlstate(error) in _BUSY_STATES or _is_idle_transaction_end(error):
        return DatabaseBusy()
    return None


def is_outage(error: BaseException) -> bool:
    """Whether the server is away, so that the circuit breaker must open."""
    cause = _cause(error)
    if isinstance(cause, ServerNotResponding):
        return bool(cause.server_at_fault)
    return _is_outage_or_client_timeout(error)


def is_outage_state(state: str) -> bool:
    """Whether an SQLSTATE says that the server, and not a statement, is the problem."""
    return state in _OUTAGE_STATES or state.startswith(_CONNECTION_EXCEPTIONS)


def _is_outage_or_client_timeout(error: BaseException) -> bool:
    """Whether connecting failed, the connection was lost, or we stopped waiting."""
    state = sqlstate(error)
    if state is not None:
        return is_outage_state(state)
    connection_lost = isinstance(_cause(error), psycopg2.OperationalError | psycopg2.InterfaceError)
    return connection_lost and not _is_idle_transaction_end(error)


def _is_idle_transaction_end(error: BaseException) -> bool:
    return isinstance(_cause(error), psycopg2.OperationalError) and (
        _IDLE_IN_TRANSACTION in message(error)
    )


def _cause(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def constraint_name(error: DBAPIError) -> str | None:
    """The name of the constraint that refused the row, if one did."""
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None)
