"""Server-side timeouts and the time zone: set on connect, and again if a pooler drops them.

PgBouncer does not pass on the `options` of a connection. It rejects them, or, if configured to
ignore them, drops them silently. So each new connection is checked once.
"""

from typing import Any

from vca.kit.db import timeouts

_SETTINGS = {
    "timezone": "UTC",
    "statement_timeout": f"{timeouts.STATEMENT_TIMEOUT_MS}ms",
    "lock_timeout": f"{timeouts.LOCK_TIMEOUT_MS}ms",
    "idle_in_transaction_session_timeout": f"{timeouts.IDLE_IN_TRANSACTION_TIMEOUT_MS}ms",
}
# The server shows 3000ms as 3s, so durations are compared as intervals.
_CHECK_SQL = "SELECT " + " AND ".join(
    f"current_setting('{name}')::interval = interval '{value}'"
    if value.endswith("ms")
    else f"current_setting('{name}') = '{value}'"
    for name, value in _SETTINGS.items()
)

CONNECTION_OPTIONS = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
# Sent with BEGIN, so it adds no round trip, but it costs server time; used only where needed.
_SET_LOCAL_SQL = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items())


def missing_settings_sql(dbapi_connection: Any) -> str:
    """Return the SQL that each transaction must run first; empty if the options took effect."""
    with dbapi_connection.cursor() as cursor:
        cursor.execute(_CHECK_SQL)
        [are_set] = cursor.fetchone()
    return "" if are_set else _SET_LOCAL_SQL
