"""One embedded server: where its things are and how to reach it, whether it runs or not."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vca.devtools.embedded_postgres import binaries
from vca.devtools.embedded_postgres.os_accounts import OsAccount

DATABASE = "vca"
OWNER = "vca_owner"
# Who logs in for what. Neither the web's login nor the worker's owns anything.
LOGINS = {"owner": OWNER, "web": "vca_web", "worker": "vca_worker"}
SUPERUSER = "postgres"
# Part of the socket's name only: no TCP port is ever opened.
PORT = 5432
LAUNCH_LOCK = "launch.lock"


@dataclass(frozen=True)
class Server:
    """The server of one folder; `home` is where its things are, nearly always the folder itself."""

    folder: Path
    home: Path
    socket_root: Path
    account: OsAccount
    state_root: Path
    note: str | None = None

    @property
    def url(self) -> str:
        """How the web logs in (libpq's URL form)."""
        return self.url_of("web")

    @property
    def migration_url(self) -> str:
        """How the migrations log in: the database's owner."""
        return self.url_of("owner")

    @property
    def worker_url(self) -> str:
        """How the worker logs in."""
        return self.url_of("worker")

    def url_of(self, login: str) -> str:
        """The URL of one of LOGINS."""
        return self._url(LOGINS[login])

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def log_dir(self) -> Path:
        return self.home / "log"

    @property
    def socket_dir(self) -> Path:
        """What clients name as host: a link to the directory that the present server made."""
        return self.socket_root / "socket"

    @property
    def launch_lock(self) -> Path:
        """Held while a launcher works, so that there is one at a time."""
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
        """The uid that the server runs as where it is not the caller's own."""
        return None if self.account.is_current else self.account.uid

    def has_data(self) -> bool:
        return has_data_directory(self.home)

    def _url(self, login: str) -> str:
        return f"postgresql://{login}@/{DATABASE}?host={quote(str(self.socket_dir))}&port={PORT}"


def has_data_directory(home: Path) -> bool:
    """Whether a cluster was made in this home, running or not."""
    return (home / "data" / "PG_VERSION").is_file()
