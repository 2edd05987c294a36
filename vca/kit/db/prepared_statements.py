"""Statements that a connection prepares once, so that the server does not plan them every time.

They are used for the look-ups at the start of every request, which run outside of transactions and
name their schema: the server keeps their plans whatever tenant the connection serves next.

Behind a pooler, two statements of a client can run on two servers, so nothing is prepared there. A
pooler has a process id of its own, which tells it apart. If one is not recognised, a statement that
is missing is executed as it is.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from psycopg2.errors import (
    DuplicatePreparedStatement,
    FeatureNotSupported,
    InvalidSqlStatementName,
)

_PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")
_SELECT_SERVER_PID = "SELECT pg_backend_pid()"


class _PreparedForm(NamedTuple):
    """The SQL that prepares a statement, and that which executes it with its parameters."""

    name: str
    prepare: str
    execute: str


def prepares_statements(driver_connection: Any) -> bool:
    """Return whether the connection reaches the server directly; asks the server."""
    with driver_connection.cursor() as cursor:
        cursor.execute(_SELECT_SERVER_PID)
        [server_pid] = cursor.fetchone()
    return bool(server_pid == driver_connection.get_backend_pid())


def execute_prepared(
    cursor: Any, prepared_names: set[str] | None, statement: str, parameters: Mapping[str, Any]
) -> None:
    """Execute one statement outside of any transaction, and prepare it if that was not done.

    `prepared_names` are the statements that the connection has prepared; None if it prepares none.
    The types of the parameters must follow from the statement. Raises psycopg2.Error.
    """
    if prepared_names is None:
        cursor.execute(statement, parameters)
        return
    form = _prepared_form(statement)
    try:
        _execute_form(cursor, form, prepared_names, parameters)
    except (InvalidSqlStatementName, FeatureNotSupported):
        # Nothing was executed: another server process answers now, or a column's type has changed.
        prepared_names.discard(form.name)
        cursor.execute(statement, parameters)


def _execute_form(
    cursor: Any, form: _PreparedForm, prepared_names: set[str], parameters: Mapping[str, Any]
) -> None:
    if form.name not in prepared_names:
        with suppress(DuplicatePreparedStatement):  # its name follows from its text
            cursor.execute(form.prepare)
        prepared_names.add(form.name)
    cursor.execute(form.execute, parameters)


@lru_cache(maxsize=64)
def _prepared_form(statement: str) -> _PreparedForm:
    numbers: dict[str, int] = {}

    def number_placeholder(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    numbered = _PLACEHOLDER.sub(number_placeholder, statement)
    name = f"vca_{hashlib.sha256(statement.encode()).hexdigest()[:16]}"
    arguments = ", ".join(f"%({parameter})s" for parameter in numbers)
    execute = f"EXECUTE {name}({arguments})" if numbers else f"EXECUTE {name}"
    return _PreparedForm(name, f"PREPARE {name} AS {numbered}", execute)
