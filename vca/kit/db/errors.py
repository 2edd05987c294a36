"""What can go wrong between us and the server, and how it is told apart."""

import psycopg2
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from vca.kit.errors import Unavailable

RETRY_AFTER_S = 2
FAILURES = (
    OperationalError,
    InterfaceError,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
)


class DatabaseUnavailable(Unavailable):
    """The database is down, frozen, or has no connection to spare."""

    code = "database-unavailable"

    def __init__(self) -> None:
        super().__init__("The database does not answer.", retry_after_s=RETRY_AFTER_S)


class Unanswered(psycopg2.OperationalError):  # type: ignore[misc] # no stubs
    """We stopped waiting for the server.

    `proven` when the wait was longer than the server ever needs, so that the server is to blame
    and not a budget that was spent elsewhere.
    """

    def __init__(self, *, proven: bool) -> None:
        super().__init__("the server did not answer in time")
        self.proven = proven


def is_outage(error: BaseException) -> bool:
    """Whether the server is away, rather than one statement refused or one wait cut short."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, Unanswered):
        return cause.proven
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or error.orig is None or sqlstate(error) is None
    return getattr(error, "pgcode", None) is None


def sqlstate(error: DBAPIError) -> str | None:
    """The five characters of the server's complaint; None when it was not the server's."""
    return getattr(error.orig, "pgcode", None)


def constraint(error: DBAPIError) -> str | None:
    """The name of the constraint that refused the row, if one did."""
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None)
