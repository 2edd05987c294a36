"""The logins and the database of every server; the superuser is used for nothing else."""

from pathlib import Path

from vca.devtools.embedded_postgres import os_accounts
from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.server import DATABASE, LOGINS, OWNER, PORT, SUPERUSER, Server
from vca.kit.deadline import Deadline

# CREATEROLE for a role per tenant. CREATEDB, and the right to see and end other sessions, because
# the tests clone and drop databases.
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


# psql's exit status if it could not connect or lost the connection.
NO_CONNECTION = 2


class BootstrapFailed(EmbeddedError):
    """The server runs, but its logins or database could not be created."""


class ServerUnreachable(BootstrapFailed):
    """The server could not be reached, or the connection was lost."""


def ensure(server: Server, programs: Path, deadline: Deadline) -> None:
    """Create the logins and the database if missing; raises BootstrapFailed, ServerUnreachable."""
    result = os_accounts.run_command(
        server.account,
        [programs / "psql", *_options(server)],
        stdin=SCRIPT,
        timeout_s=deadline.remaining_s,
    )
    if result.returncode != 0:
        error_class = ServerUnreachable if result.returncode == NO_CONNECTION else BootstrapFailed
        raise error_class(
            f"could not create the logins and the database of the server in {server.home}:\n"
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
