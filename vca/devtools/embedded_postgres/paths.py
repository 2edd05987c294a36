"""Where a folder's server stores its files: in the folder, or elsewhere if it is out of reach.

The result is deterministic: every process gets the same location for the same folder, whether the
server runs or not. Existing data determine the location, even if permissions have changed since.
"""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote

from vca.devtools.embedded_postgres import os_accounts
from vca.devtools.embedded_postgres.directories import (
    make_parents,
    make_private,
    make_public,
    reject_unsafe,
)
from vca.devtools.embedded_postgres.errors import EmbeddedError, translate_os_errors
from vca.devtools.embedded_postgres.os_accounts import OsAccount
from vca.devtools.embedded_postgres.server import LAUNCH_LOCK, PORT, Server, has_data_directory

STATE_ROOT = Path("/var/lib/vca")
# Not tempfile.gettempdir(): TMPDIR differs between shells, and the URL must not.
SHORT_ROOT = Path("/tmp")
# sun_path has 108 bytes on Linux and 104 on macOS, including the final NUL.
MAX_SOCKET_PATH_BYTES = 103


class FolderUnusable(EmbeddedError):
    """The folder belongs to another user, or contains something else."""


class FolderUnreachable(EmbeddedError):
    """The data exist, but the account that owns them can no longer reach them."""


@translate_os_errors()
def server_for(folder: Path, *, state_root: Path = STATE_ROOT) -> Server:
    """Return the server of a folder, without starting or creating anything.

    Raises FolderUnusable, AccountUnusable, and DirectoryUnsafe if another user created the
    directory of its socket.
    """
    folder = folder.expanduser().resolve()
    if not os_accounts.is_root():
        return _build_server(folder, folder, _calling_account(folder), state_root)
    fallback_home = state_root.resolve() / _slug(folder)
    account = _server_account(fallback_home if has_data_directory(fallback_home) else folder)
    if _stays_in_folder(folder, fallback_home, account):
        return _build_server(folder, folder, account, state_root)
    note = f"the data are in {fallback_home}, because {account} cannot reach {folder}"
    return _build_server(folder, fallback_home, account, state_root, note)


def create_directories(server: Server) -> None:
    """Create the server's directories; raise FolderUnusable, FolderUnreachable, DirectoryUnsafe."""
    if server.home != server.folder:
        make_public(server.home.parent)
    make_parents(server.home)
    _reject_foreign_content(server.home)
    make_private(server.home, server.account, fix_mode=True)
    if server.socket_root != server.home:
        make_private(server.socket_root, server.account)
    if server.run_as is not None and not os_accounts.can_enter(server.account, server.home):
        raise FolderUnreachable(
            f"{server.account} can no longer reach {server.home}: let others pass through the "
            "directories above it (chmod o+x), or move it away to start afresh"
        )


def _stays_in_folder(folder: Path, fallback_home: Path, account: OsAccount) -> bool:
    if has_data_directory(fallback_home):
        return False
    return has_data_directory(folder) or os_accounts.can_enter(
        account, _nearest_existing(folder.parent)
    )


def _build_server(
    folder: Path, home: Path, account: OsAccount, state_root: Path, note: str | None = None
) -> Server:
    sockets = _socket_root(home, account)
    if sockets != home:
        reject_unsafe(sockets, account)
    return Server(folder, home, sockets, account, state_root.resolve(), note)


def _calling_account(folder: Path) -> OsAccount:
    caller, owner = os_accounts.current_account(), os_accounts.path_owner(folder)
    if owner is not None and owner.uid != caller.uid:
        raise FolderUnusable(
            f"{folder} belongs to {owner}: use the server in it as that user or as root, "
            "or choose another folder"
        )
    return caller


def _server_account(home: Path) -> OsAccount:
    # Root runs the server of a user's folder as that user, so that the user can still use it
    # afterwards.
    owner = os_accounts.path_owner(home)
    return os_accounts.unprivileged_account() if owner is None or owner.uid == 0 else owner


def _socket_root(home: Path, account: OsAccount) -> Path:
    socket_path = os.fsencode(home / "socket.00000000" / f".s.PGSQL.{PORT}")
    # libpq and PostgreSQL split socket directories at commas, and drivers may unquote differently.
    # So a path that needs quoting is not used.
    if len(socket_path) <= MAX_SOCKET_PATH_BYTES and quote(str(home)) == str(home):
        return home
    return SHORT_ROOT / f"vca-{account.uid}-{_hash(home)}"


def _slug(folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", folder.name)[:30].strip("-")
    return f"{name or 'server'}-{_hash(folder)}"


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _nearest_existing(path: Path) -> Path:
    return path if path.exists() else _nearest_existing(path.parent)


def _reject_foreign_content(home: Path) -> None:
    # A mistaken path, such as a home directory, must not be made private and filled.
    names = os.listdir(home) if home.exists() else []
    if names and LAUNCH_LOCK not in names:
        raise FolderUnusable(f"{home} contains other files: choose an empty or a new folder")
