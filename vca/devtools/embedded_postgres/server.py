"""One embedded server: its files and URLs, whether it runs or not."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vca.devtools.embedded_postgres import binaries
from vca.devtools.embedded_postgres.os_accounts import OsAccount

DATABASE = "vca"
OWNER = "vca_owner"
# Login names by purpose. The logins of web and worker own nothing.
LOGINS = {"owner": OWNER, "web": "vca_web", "worker": "vca_worker"}
SUPERUSER = "postgres"
# Only part of the socket's name: no TCP port is opened.
PORT = 5432
LAUNCH_LOCK = "launch.lock"


@dataclass(frozen=True)
class Server:
    """The server of a folder; `home` contains its files and is nearly always the folder itself."""

    folder: Path
    home: Path
    socket_root: Path
    account: OsAccount
    state_root: Path
    note: str | None = None

    @property
    def url(self) -> str:
        """The libpq URL of the web login."""
        return self.url_of("web")

    @property
    def migration_url(self) -> str:
        """The libpq URL of the migrations, which log in as the owner of the database."""
        return self.url_of("owner")

    @property
    def worker_url(self) -> str:
        """The libpq URL of the worker login."""
        return self.url_of("worker")

    def url_of(self, login: str) -> str:
        """Return the URL of one of LOGINS."""
        return self._url(LOGINS[login])

    @property
    def data_dir(self) -> Path:
        """The data directory of the cluster."""
        return self.home / "data"

    @property
    def log_dir(self) -> Path:
        """The directory of the server's log files."""
        return self.home / "log"

    @property
    def socket_dir(self) -> Path:
        """The host that clients use: a link to the directory that the running server created."""
        return self.socket_root / "socket"

    @property
    def launch_lock(self) -> Path:
        """Held by a launcher, so that only one works at a time."""
        return self.home / LAUNCH_LOCK

    @property
    def life_lock(self) -> Path:
        """Held by every process of the server from its start to its end."""
        return self.home / "life.lock"

    @property
    def binaries(self) -> Path:
        """The programs that the account can execute; raises EmbeddedUnavailable."""
        return binaries.programs_for(self.account, self.state_root)

    @property
    def run_as(self) -> int | None:
        """The uid that the server runs as, or None if it is the caller's own."""
        return None if self.account.is_current else self.account.uid

    def has_data(self) -> bool:
        """Return whether the cluster was created."""
        return has_data_directory(self.home)

    def _url(self, login: str) -> str:
        return f"postgresql://{login}@/{DATABASE}?host={quote(str(self.socket_dir))}&port={PORT}"


def has_data_directory(home: Path) -> bool:
    """Return whether this home contains a data directory, running or not."""
    return (home / "data" / "PG_VERSION").is_file()
