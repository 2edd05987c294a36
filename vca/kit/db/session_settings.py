"""The server's time-outs and time zone: sent with a connection, and again if a pooler drops them.

PgBouncer does not pass on the `options` of a connection: it refuses them or, told to ignore them,
loses without a word what they set. So a new connection is asked once whether they hold.
"""

from typing import Any

from vca.kit.db import timeouts

_SETTINGS = {
    "timezone": "UTC",
    "statement_timeout": f"{timeouts.STATEMENT_TIMEOUT_MS}ms",
    "lock_timeout": f"{timeouts.LOCK_TIMEOUT_MS}ms",
    "idle_in_transaction_session_timeout": f"{timeouts.IDLE_IN_TRANSACTION_TIMEOUT_MS}ms",
}
# The server shows 3000ms as 3s: lengths are compared as such.
_CHECK_SQL = "SELECT " + " AND ".join(
    f"current_setting('{name}')::interval = interval '{value}'"
    if value.endswith("ms")
    else f"current_setting('{name}') = '{value}'"
    for name, value in _SETTINGS.items()
)

CONNECTION_OPTIONS = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
# No round trip more, but work for the server: only where it is needed.
_SET_LOCAL_SQL = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items())


def missing_settings_sql(dbapi_connection: Any) -> str:
    """What transactions on a new connection must set themselves; empty where the options hold."""
    with dbapi_connection.cursor() as cursor:
        cursor.execute(_CHECK_SQL)
        [are_set] = cursor.fetchone()
    return "" if are_set else _SET_LOCAL_SQL
