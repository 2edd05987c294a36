"""Database failures: the server is unreachable, or it is too busy; other errors pass unchanged."""

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
# 57P01 to 57P03: the server was shut down, has crashed or is starting. 53300: too many connections.
# 08: connection exceptions. https://www.postgresql.org/docs/current/errcodes-appendix.html
_OUTAGE_STATES = ("57P01", "57P02", "57P03", "53300")
_CONNECTION_EXCEPTIONS = "08"
# 57014: statement timeout. 55P03: lock timeout. 25P03: idle-in-transaction timeout.
_BUSY_STATES = ("57014", "55P03", "25P03")
# The server's message for 25P03. That error ends the connection, so it arrives without its
# SQLSTATE. With another `lc_messages` the text differs, and the error counts as an outage.
_IDLE_IN_TRANSACTION = "idle-in-transaction timeout"


class DatabaseFailure(Unavailable):
    """The database could not serve this request; the same request may succeed later."""


class DatabaseUnavailable(DatabaseFailure):
    """The database is down, does not respond, or has no free connection."""

    code = "database-unavailable"

    def __init__(self) -> None:
        super().__init__("The database is not responding.", retry_after_s=UNAVAILABLE_RETRY_AFTER_S)


class DatabaseBusy(DatabaseFailure):
    """The server ended a statement, a lock wait or an idle transaction because of a timeout."""

    code = "database-busy"

    def __init__(self) -> None:
        super().__init__(
            "The database is too busy to complete this request. Try again.",
            retry_after_s=BUSY_RETRY_AFTER_S,
        )


class ServerNotResponding(psycopg2.OperationalError):  # type: ignore[misc] # no stubs
    """The client stopped waiting for the server.

    `server_at_fault` is true when the client waited longer than the server's own timeouts allow.
    Otherwise a time budget that was mostly spent elsewhere may have ended the wait.
    """

    def __init__(self, *, server_at_fault: bool) -> None:
        super().__init__("the server did not respond in time")
        self.server_at_fault = server_at_fault


def failure_for(error: BaseException) -> DatabaseFailure | None:
    """Return the DatabaseFailure for a driver or pool error, or None for all other errors.

    All other errors are faults in the code or in the server's configuration, so a retry does not
    help.
    """
    if isinstance(error, PoolTimeout) or _is_outage_or_client_timeout(error):
        return DatabaseUnavailable()
    if sqlstate(error) in _BUSY_STATES or _is_idle_transaction_end(error):
        return DatabaseBusy()
    return None


def is_outage(error: BaseException) -> bool:
    """Return whether the server is unreachable, so that the circuit breaker must open."""
    cause = _cause(error)
    if isinstance(cause, ServerNotResponding):
        return bool(cause.server_at_fault)
    return _is_outage_or_client_timeout(error)


def is_outage_state(state: str) -> bool:
    """Return whether an SQLSTATE reports a problem of the server rather than of a statement."""
    return state in _OUTAGE_STATES or state.startswith(_CONNECTION_EXCEPTIONS)


def _is_outage_or_client_timeout(error: BaseException) -> bool:
    """Return whether connecting failed, the connection was lost, or the client stopped waiting."""
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
    """Return the name of the violated constraint, if the error is a constraint violation."""
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None)
