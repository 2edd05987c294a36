"""The data directory: made whole or not at all, and only ever used by the version that made it."""

import os
from pathlib import Path

from vca.kit.embedded import accounts, binaries
from vca.kit.embedded.errors import EmbeddedError
from vca.kit.embedded.server import SUPERUSER, Server
from vca.kit.embedded.waiting import Deadline

# C where the system does not know C.UTF-8: sorts alike, upper-cases ASCII only.
LOCALES = ("C.UTF-8", "C")


class ClusterNotMade(EmbeddedError):
    """initdb failed."""


class WrongVersion(EmbeddedError):
    """The data were made by another major version of PostgreSQL."""


def ensure(server: Server, programs: Path, *, lock: int, deadline: Deadline) -> None:
    """Make the data directory if there is none; raises ClusterNotMade, WrongVersion.

    It is made under another name and renamed when complete. initdb inherits `lock`: if we are
    killed meanwhile, nobody else begins before it has ended.
    """
    if server.has_data():
        _require_our_version(server)
        return
    unfinished = server.home / "data.unfinished"
    try:
        _make(server, programs, unfinished, lock, deadline)
        unfinished.rename(server.data_dir)
        _sync(server.home)
    finally:
        _remove(server, unfinished)


def _make(server: Server, programs: Path, folder: Path, lock: int, deadline: Deadline) -> None:
    last_words = ""
    for locale in LOCALES:
        _remove(server, folder)
        made = accounts.run(
            server.account,
            [programs / "initdb", "--pgdata", folder, *_options(locale)],
            timeout_s=deadline.left_s,
            keep_open=[lock],
        )
        if made.returncode == 0:
            return
        last_words = made.stderr.strip()
    raise ClusterNotMade(f"initdb could not make {folder}:\n{last_words}")


def _options(locale: str) -> list[str]:
    return [
        f"--username={SUPERUSER}",
        f"--locale={locale}",
        "--encoding=UTF8",
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
    ]


def _require_our_version(server: Server) -> None:
    made_by = (server.data_dir / "PG_VERSION").read_text().strip()
    if made_by != str(binaries.MAJOR):
        raise WrongVersion(
            f"{server.data_dir} was made by PostgreSQL {made_by} and the programs are "
            f"{binaries.MAJOR}: move it away to begin anew, or convert it with pg_upgrade"
        )


def _remove(server: Server, folder: Path) -> None:
    if folder.exists():
        accounts.run(server.account, ["/bin/rm", "-rf", folder], timeout_s=60)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
