"""The logins and the database that every server has: all that the superuser is used for."""

from pathlib import Path

from vca.devtools.embedded_postgres import os_accounts
from vca.devtools.embedded_postgres.deadline import Deadline
from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.server import DATABASE, LOGINS, OWNER, PORT, SUPERUSER, Server

# CREATEROLE for a role per tenant; CREATEDB, and seeing and ending others' sessions, because the
# tests clone and drop databases.
_RIGHTS = {"owner": "CREATEROLE CREATEDB", "web": "NOINHERIT", "worker": "NOINHERIT"}
SCRIPT = (
    "".join(
        f"""
SELECT 'CREATE ROLE {name} LOGIN {_RIGHTS[login]}'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec
"""
        for login, name in LOGINS.items()
    )
    + f"""
GRANT pg_signal_backend, pg_read_all_stats TO {OWNER};
SELECT 'CREATE DATABASE {DATABASE} OWNER {OWNER}'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
"""
)


# psql's exit status when there is no connection, or it was lost.
NO_CONNECTION = 2


class BootstrapFailed(EmbeddedError):
    """The server runs, and does not let its login or database be made."""


class ServerUnreachable(BootstrapFailed):
    """The server did not talk to us, or no longer."""


def ensure(server: Server, programs: Path, deadline: Deadline) -> None:
    """Make the owner's login and the database where missing; raises BootstrapFailed, NotReached."""
    result = os_accounts.run_command(
        server.account,
        [programs / "psql", *_options(server)],
        stdin=SCRIPT,
        timeout_s=deadline.remaining_s,
    )
    if result.returncode != 0:
        error_class = ServerUnreachable if result.returncode == NO_CONNECTION else BootstrapFailed
        raise error_class(
            f"the server in {server.home} does not let its login and database be made:\n"
            f"{result.stderr.strip()}"
        )


def _options(server: Server) -> list[str]:
    return [
        "--no-psqlrc",
        "--no-password",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        f"--host={server.socket_dir}",
        f"--port={PORT}",
        f"--username={SUPERUSER}",
        "--dbname=postgres",
    ]
