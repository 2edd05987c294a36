"""The data directory: created completely or not at all, and used only by its own version."""

import os
from pathlib import Path

from vca.devtools.embedded_postgres import binaries, os_accounts
from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.server import SUPERUSER, Server
from vca.kit.deadline import Deadline

# C is for systems without C.UTF-8: it sorts the same, but upper-cases ASCII only.
LOCALES = ("C.UTF-8", "C")


class InitdbFailed(EmbeddedError):
    """initdb failed."""


class WrongVersion(EmbeddedError):
    """The data directory was created by another major version of PostgreSQL."""


def ensure(server: Server, programs: Path, *, lock: int, deadline: Deadline) -> None:
    """Create the data directory if there is none; raises InitdbFailed, WrongVersion.

    It is created under a temporary name and renamed when complete. initdb inherits `lock`: if this
    process is killed meanwhile, no other process starts before initdb has ended.
    """
    if server.has_data():
        _require_same_version(server)
        return
    temporary = server.home / "data.unfinished"
    try:
        _create(server, programs, temporary, lock, deadline)
        temporary.rename(server.data_dir)
        _sync(server.home)
    finally:
        _remove(server, temporary)


def _create(server: Server, programs: Path, folder: Path, lock: int, deadline: Deadline) -> None:
    last_error = ""
    for locale in LOCALES:
        _remove(server, folder)
        result = os_accounts.run_command(
            server.account,
            [programs / "initdb", "--pgdata", folder, *_options(locale)],
            timeout_s=deadline.remaining_s,
            inherited_fds=[lock],
        )
        if result.returncode == 0:
            return
        last_error = result.stderr.strip()
    raise InitdbFailed(f"initdb could not create {folder}:\n{last_error}")


def _options(locale: str) -> list[str]:
    return [
        f"--username={SUPERUSER}",
        f"--locale={locale}",
        "--encoding=UTF8",
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
    ]


def _require_same_version(server: Server) -> None:
    data_version = (server.data_dir / "PG_VERSION").read_text().strip()
    if data_version != str(binaries.MAJOR):
        raise WrongVersion(
            f"{server.data_dir} was created by PostgreSQL {data_version}, but the programs are "
            f"{binaries.MAJOR}: move it away to start afresh, or convert it with pg_upgrade"
        )


def _remove(server: Server, folder: Path) -> None:
    if folder.exists():
        os_accounts.run_command(server.account, ["/bin/rm", "-rf", folder], timeout_s=60)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
