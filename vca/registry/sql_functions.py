"""The SQL functions of the schemas `public` and `jobs`, one file of `registry/sql` per signature.

`flask db upgrade` installs them after the migrations, and grants each one to the logins that its
header names. Migrations neither create nor call them.

To change a body, edit its file. A signature is called by the processes of two releases: a changed
one is a new file, and the old file stays for one release. Its line in `dropped.txt` names the
release that drops the function; its file is deleted in that release.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from sqlalchemy import Connection, text

import vca
from vca.tenancy.roles import Roles, quote_identifier

FOLDER = Path(__file__).parent / "sql"
DROPPED_FILE = FOLDER / "dropped.txt"

# Who may call a function: a transaction inside a tenant, both logins, or the worker's login.
# Functions with `none` are called by other functions only.
Grant = Literal["tenant", "platform", "worker", "none"]

_SOURCE = re.compile(
    r"-- grants: (?P<grant>\w+)\n--\n(?P<comment>(?:--.*\n)+)"
    r"CREATE OR REPLACE FUNCTION (?P<name>(?:public|jobs)\.\w+)"
    r"\((?P<arguments>(?:(?!DEFAULT)[^()])*)\)\n"
)
_DROPPED_LINE = re.compile(r"(?P<signature>\S+\(.*\)) (?P<release>\d+\.\d+\.\d+)")

_INSTALLED_RELEASE = text("SELECT functions_release FROM public.deployment")
_RECORD_RELEASE = text("UPDATE public.deployment SET functions_release = :release")


class InvalidFunctionFile(ValueError):
    """A file of `registry/sql` has no header, or not the form that the installer can read."""


@dataclass(frozen=True)
class SqlFunction:
    """One function: its `CREATE OR REPLACE FUNCTION`, and who may call it.

    `signature` identifies it in GRANT and DROP.
    """

    name: str
    signature: str
    grant: Grant
    source: str


@dataclass(frozen=True)
class DroppedFunction:
    """A signature that the functions of `registry/sql` replace, and the release that drops it."""

    signature: str
    release: str


def parse_function(source: str) -> SqlFunction:
    """Return the function of a file's text; raises InvalidFunctionFile."""
    match = _SOURCE.match(source)
    if match is None:
        raise InvalidFunctionFile(f"not `-- grants: …`, a comment and a function: {source[:80]!r}")
    grant: Grant | None = next((name for name in get_args(Grant) if name == match["grant"]), None)
    if grant is None:
        raise InvalidFunctionFile(
            f"unknown grants {match['grant']!r}: {', '.join(get_args(Grant))}"
        )
    arguments = " ".join(match["arguments"].split())
    return SqlFunction(match["name"], f"{match['name']}({arguments})", grant, source)


@cache
def load_functions() -> Sequence[SqlFunction]:
    """Return all functions, in the order of their files' names."""
    return [parse_function(path.read_text()) for path in sorted(FOLDER.glob("*.sql"))]


def load_dropped() -> list[DroppedFunction]:
    """Return the lines of `dropped.txt`; raises InvalidFunctionFile."""
    lines = DROPPED_FILE.read_text().splitlines()
    return [_parse_dropped(line) for line in lines if line and not line.startswith("#")]


def is_dropped(old_function: DroppedFunction, *, release: str = vca.__version__) -> bool:
    """Return whether a release, by default this one, drops the function."""
    return not _is_newer(old_function.release, release)


def are_newer(connection: Connection) -> bool:
    """Return whether a newer release has installed the functions: this one leaves them as they are.

    A release that only changes bodies has no migration, so its database is not ahead of this code.
    """
    release = connection.scalar(_INSTALLED_RELEASE)
    return release is not None and _is_newer(release, vca.__version__)


def record_release(connection: Connection) -> None:
    """Record that this release has installed the functions, in the row of the deployment."""
    connection.execute(_RECORD_RELEASE, {"release": vca.__version__})


def install(connection: Connection, login_roles: Roles) -> None:
    """Create or replace all functions, drop the replaced ones, and grant them, as the owner.

    The functions may call each other: their bodies are not checked while they are created.
    """
    _execute(connection, "SET LOCAL check_function_bodies = off")
    for old_function in load_dropped():
        if is_dropped(old_function):
            _execute(connection, f"DROP FUNCTION IF EXISTS {old_function.signature}")
    for function in load_functions():
        _execute(connection, function.source)
    for statement in grant_statements(login_roles):
        _execute(connection, statement)


def grant_statements(login_roles: Roles) -> list[str]:
    """Return the REVOKE and GRANT statements of all functions."""
    logins = _join_identifiers(login_roles.web, login_roles.worker)
    # The owner keeps its right even if one of the logins is the owner.
    grantees = {
        # No grant can name the roles of ten thousand tenants. The functions themselves reject a
        # transaction that is in no tenant.
        "tenant": f"CURRENT_USER, {logins if login_roles.prefix is None else 'PUBLIC'}",
        "platform": f"CURRENT_USER, {logins}",
        "worker": f"CURRENT_USER, {quote_identifier(login_roles.worker)}",
        "none": "CURRENT_USER",
    }
    statements = []
    for function in load_functions():
        statements += [
            f"REVOKE ALL ON FUNCTION {function.signature} FROM PUBLIC, {logins}",
            f"GRANT EXECUTE ON FUNCTION {function.signature} TO {grantees[function.grant]}",
        ]
    return statements


def _parse_dropped(line: str) -> DroppedFunction:
    match = _DROPPED_LINE.fullmatch(line)
    if match is None:
        raise InvalidFunctionFile(f"not a signature and a release: {line!r}")
    return DroppedFunction(match["signature"], match["release"])


def _is_newer(release: str, other: str) -> bool:
    key, other_key = (
        [int(number) for number in re.findall(r"\d+", version)[:3]] for version in (release, other)
    )
    return key > other_key


def _join_identifiers(*names: str) -> str:
    return ", ".join(sorted({quote_identifier(name) for name in names}))


def _execute(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
