"""SQLSTATE and message of PostgreSQL errors, for psycopg2, psycopg and SQLAlchemy.

It reads attributes and imports no driver, so that the log can use it.
"""

import re

# The server ended a statement, a wait for a lock or an idle transaction because of a timeout.
BUSY_STATES = ("57014", "55P03", "25P03")
# Why a circuit breaker opens. connection_failed: connecting failed, or the connection was lost
# while a statement ran. server_error: an SQLSTATE that reports an outage. no_response: a caller
# waited in vain, and the server did not respond to a new connection either.
OUTAGE_REASONS = ("connection_failed", "server_error", "no_response")
# Class 22 (data exception) and 42601 (syntax error): these messages quote a value or a part of the
# statement.
_QUOTING_STATES = ("22", "42601")
_QUOTATION_MARK = re.compile("[\"'«„‚‘“]")  # including those of translated messages
MAX_MESSAGE_LENGTH = 200


def sqlstate(error: BaseException) -> str | None:
    """Return the server's five-character code; None if the server sent none.

    psycopg2 reports none for an error that ends the connection.
    """
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None


def message(error: BaseException) -> str:
    """Return the primary message in one line of at most 200 characters.

    DETAIL, HINT and CONTEXT are left out.
    """
    cause = getattr(error, "orig", None) or error
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    lines = (primary or str(cause)).strip().splitlines() or [type(cause).__name__]
    return lines[0][:MAX_MESSAGE_LENGTH]


def message_without_values(error: BaseException) -> str:
    """Return the primary message for the log, cut off where it may quote a caller's utterance."""
    text = message(error)
    if (sqlstate(error) or "").startswith(_QUOTING_STATES):
        before, *rest = _QUOTATION_MARK.split(text, maxsplit=1)
        return f"{before}…" if rest else text
    return text


def is_driver_error(error: BaseException) -> bool:
    """Return whether `error` comes from a PostgreSQL driver, directly or through SQLAlchemy."""
    cause = getattr(error, "orig", None) or error
    return any(kind.__module__ in ("psycopg2", "psycopg") for kind in type(cause).__mro__)
