"""Where a folder's server lives: in the folder, or where its account cannot reach that, elsewhere.

Deterministic: every process that asks for the same folder computes the same place, running server
or not. Once data exist they decide, whatever the permissions have become since.
"""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote

from vca.kit.embedded import accounts
from vca.kit.embedded.accounts import Account
from vca.kit.embedded.directories import (
    make_parents,
    make_private,
    make_public,
    refuse_planted,
)
from vca.kit.embedded.errors import EmbeddedError, one_sentence
from vca.kit.embedded.server import LAUNCH_LOCK, PORT, Server, holds_data

STATE_ROOT = Path("/var/lib/vca")
# Not tempfile.gettempdir(): TMPDIR differs from shell to shell, and the URL must not.
SHORT_ROOT = Path("/tmp")
# sun_path holds 108 bytes on Linux, 104 on macOS, the final NUL included.
LONGEST_SOCKET_PATH = 103


class FolderUnusable(EmbeddedError):
    """The folder is somebody else's, or holds something else."""


class FolderUnreachable(EmbeddedError):
    """Data are there, and the account that they belong to can no longer reach them."""


@one_sentence()
def server_for(folder: Path, *, state_root: Path = STATE_ROOT) -> Server:
    """Where the folder's server is, without starting or making anything.

    Raises FolderUnusable, DirectoryUnsafe (somebody planted the directory of its socket) and
    AccountUnusable.
    """
    folder = folder.expanduser().resolve()
    if not accounts.is_root():
        return _server(folder, folder, _caller(folder), state_root)
    elsewhere = state_root.resolve() / _slug(folder)
    account = _account(elsewhere if holds_data(elsewhere) else folder)
    if _stays(folder, elsewhere, account):
        return _server(folder, folder, account, state_root)
    note = f"the data live in {elsewhere}, where {account} can reach them, not in {folder}"
    return _server(folder, elsewhere, account, state_root, note)


def prepare(server: Server) -> None:
    """Make the server's directories; raises FolderUnusable, FolderUnreachable, DirectoryUnsafe."""
    if server.home != server.folder:
        make_public(server.home.parent)
    make_parents(server.home)
    _refuse_foreign(server.home)
    make_private(server.home, server.account, narrow=True)
    if server.sockets != server.home:
        make_private(server.sockets, server.account)
    if server.run_as is not None and not accounts.can_enter(server.account, server.home):
        raise FolderUnreachable(
            f"{server.account} can no longer reach {server.home}: let others pass through the "
            "directories above it (chmod o+x), or move it away to begin anew"
        )


def _stays(folder: Path, elsewhere: Path, account: Account) -> bool:
    if holds_data(elsewhere):
        return False
    return holds_data(folder) or accounts.can_enter(account, _nearest_existing(folder.parent))


def _server(
    folder: Path, home: Path, account: Account, state_root: Path, note: str | None = None
) -> Server:
    sockets = _sockets(home, account)
    if sockets != home:
        refuse_planted(sockets, account)
    return Server(folder, home, sockets, account, state_root.resolve(), note)


def _caller(folder: Path) -> Account:
    me, owner = accounts.current(), accounts.owner(folder)
    if owner is not None and owner.uid != me.uid:
        raise FolderUnusable(
            f"{folder} belongs to {owner}: use the server in it as that user or as root, "
            "or choose another folder"
        )
    return me


def _account(home: Path) -> Account:
    # Root serves a user's folder as that user, so that the user finds it usable afterwards.
    owner = accounts.owner(home)
    return accounts.unprivileged() if owner is None or owner.uid == 0 else owner


def _sockets(home: Path, account: Account) -> Path:
    longest = os.fsencode(home / "socket.00000000" / f".s.PGSQL.{PORT}")
    # libpq and PostgreSQL both split a socket directory at commas; nor is anything gained by
    # trying whether every driver unquotes alike.
    if len(longest) <= LONGEST_SOCKET_PATH and quote(str(home)) == str(home):
        return home
    return SHORT_ROOT / f"vca-{account.uid}-{_hash(home)}"


def _slug(folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", folder.name)[:30].strip("-")
    return f"{name or 'server'}-{_hash(folder)}"


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _nearest_existing(path: Path) -> Path:
    return path if path.exists() else _nearest_existing(path.parent)


def _refuse_foreign(home: Path) -> None:
    # A mistaken path, such as one's own home, must not be closed and filled.
    found = os.listdir(home) if home.exists() else []
    if found and LAUNCH_LOCK not in found:
        raise FolderUnusable(f"{home} holds something else: choose an empty or a new folder")
