"""The logins and the database that every server has: all that the superuser is used for."""

from pathlib import Path

from vca.kit.embedded import accounts
from vca.kit.embedded.errors import EmbeddedError
from vca.kit.embedded.server import DATABASE, LOGINS, OWNER, PORT, SUPERUSER, Server
from vca.kit.embedded.waiting import Deadline

# CREATEDB because the test suite clones databases, CREATEROLE for a role per tenant.
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
SELECT 'CREATE DATABASE {DATABASE} OWNER {OWNER}'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
"""
)


# psql's exit status when there is no connection, or it was lost.
NO_CONNECTION = 2


class BootstrapFailed(EmbeddedError):
    """The server runs, and does not let its login or database be made."""


class NotReached(BootstrapFailed):
    """The server did not talk to us, or no longer."""


def ensure(server: Server, programs: Path, deadline: Deadline) -> None:
    """Make the owner's login and the database where missing; raises BootstrapFailed, NotReached."""
    done = accounts.run(
        server.account,
        [programs / "psql", *_options(server)],
        stdin=SCRIPT,
        timeout_s=deadline.left_s,
    )
    if done.returncode != 0:
        kind = NotReached if done.returncode == NO_CONNECTION else BootstrapFailed
        raise kind(
            f"the server in {server.home} does not let its login and database be made:\n"
            f"{done.stderr.strip()}"
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
