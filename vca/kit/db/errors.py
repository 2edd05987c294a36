"""Database failures: the server is unreachable, or it is too busy; other errors pass unchanged."""

import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vca.kit.errors import Unavailable
from vca.kit.postgres_errors import BUSY_STATES, message, sqlstate

__all__ = [
    "LOST_WHILE_IDLE",
    "DatabaseBusy",
    "DatabaseFailure",
    "DatabaseUnavailable",
    "ServerNotResponding",
    "busy_state",
    "constraint_name",
    "failure_for",
    "is_outage_state",
    "is_suspicious",
    "outage_reason",
    "sqlstate",
]

UNAVAILABLE_RETRY_AFTER_S = 2
BUSY_RETRY_AFTER_S = 1
# 57P01 to 57P03: the server was shut down, has crashed or is starting. 53300: too many connections.
# 08: connection exceptions. https://www.postgresql.org/docs/current/errcodes-appendix.html
_OUTAGE_STATES = ("57P01", "57P02", "57P03", "53300")
_CONNECTION_EXCEPTIONS = "08"
# A part of the server's messages for 25P03 and for 25P04, the limit for whole transactions. These
# errors end the connection, so psycopg2 reports no SQLSTATE. The text is needed for an error that
# arrives while a statement is sent. With another `lc_messages` it differs, and such an error counts
# as an outage.
_TRANSACTION_TIMEOUT = "transaction timeout"
# Attribute of an error: the connection was lost in a transaction before the statement was sent. The
# value is the SQLSTATE with which the server closed it, or empty if that is unknown.
LOST_WHILE_IDLE = "lost_while_idle"


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

    `is_proof` is true when the server did not accept a connection in time. Otherwise the statement
    may have been slow: the server's timeouts apply to each statement of a string, and a time budget
    may have been mostly spent elsewhere.
    """

    def __init__(self, *, is_proof: bool) -> None:
        super().__init__("the server did not respond in time")
        self.is_proof = is_proof


def failure_for(error: BaseException) -> DatabaseFailure | None:
    """Return the DatabaseFailure for a driver or pool error, or None for all other errors.

    All other errors are faults in the code or in the server's configuration, so a retry does not
    help.
    """
    if isinstance(error, PoolTimeout) or _is_outage_or_client_timeout(error):
        return DatabaseUnavailable()
    return None if busy_state(error) is None else DatabaseBusy()


def busy_state(error: BaseException) -> str | None:
    """Return the SQLSTATE of a timeout of the server; None for all other errors."""
    state = "25P03" if _is_transaction_timeout(error) else sqlstate(error)
    return state if state in BUSY_STATES else None


def outage_reason(error: BaseException) -> str | None:
    """Return why the circuit breaker must open; None if the server is not known to be down.

    A connection that was lost between two statements for an unknown reason proves nothing: its
    tenant may have let it idle. If the server is down, connecting fails next.
    """
    cause = _cause(error)
    if isinstance(cause, ServerNotResponding):
        return "no_response" if cause.is_proof else None
    if isinstance(cause, psycopg2.InterfaceError) or not _is_outage_or_client_timeout(error):
        return None
    state = sqlstate(error) or getattr(cause, LOST_WHILE_IDLE, None)
    return "connection_failed" if state is None else "server_error"


def is_suspicious(error: BaseException) -> bool:
    """Return whether the server may be frozen, or a statement was slow."""
    cause = _cause(error)
    return isinstance(cause, ServerNotResponding) and not cause.is_proof


def is_outage_state(state: str) -> bool:
    """Return whether an SQLSTATE reports a problem of the server rather than of a statement."""
    return state in _OUTAGE_STATES or state.startswith(_CONNECTION_EXCEPTIONS)


def _is_outage_or_client_timeout(error: BaseException) -> bool:
    """Return whether connecting failed, the connection was lost, or the client stopped waiting."""
    state = sqlstate(error)
    if state is not None:
        return is_outage_state(state)
    connection_lost = isinstance(_cause(error), psycopg2.OperationalError | psycopg2.InterfaceError)
    return connection_lost and not _is_transaction_timeout(error)


def _is_transaction_timeout(error: BaseException) -> bool:
    """Return whether the server ended an idle transaction.

    That is assumed if it closed the connection for an unknown reason between two statements.
    """
    cause = _cause(error)
    if sqlstate(error) is not None or not isinstance(cause, psycopg2.OperationalError):
        return False
    final_state: str | None = getattr(cause, LOST_WHILE_IDLE, None)
    if final_state is not None:
        return not is_outage_state(final_state)
    return _TRANSACTION_TIMEOUT in message(error)


def _cause(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def constraint_name(error: DBAPIError) -> str | None:
    """Return the name of the violated constraint, if the error is a constraint violation."""
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None)
