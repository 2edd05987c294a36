"""Whom the server runs as, and running commands as that account.

PostgreSQL refuses to run as root, so root hands everything to an unprivileged account; whatever
touches the inside of a folder which that account owns is done as that account, because there root
could be led astray by a planted link.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vca.devtools.embedded_postgres.errors import EmbeddedError

UNPRIVILEGED = "nobody"
# How long a command that was told to end may take.
TERMINATE_TIMEOUT_S = 5.0

# Nothing of the caller's environment: it holds secrets, and PG* variables that would mislead.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LC_ALL": "C"}


class AccountUnusable(EmbeddedError):
    """The unprivileged account does not exist or may not be assumed here."""


class CommandTimeout(EmbeddedError):
    """A command did not end in the time that it was given."""


@dataclass(frozen=True)
class OsAccount:
    """A user of the system."""

    uid: int
    gid: int
    name: str

    @property
    def is_current(self) -> bool:
        return self.uid == os.geteuid()

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"


def is_root() -> bool:
    """Whether this process may become any account, and must not run Postgres as its own."""
    return os.geteuid() == 0


def current_account() -> OsAccount:
    """The account that this process acts as."""
    return OsAccount(os.geteuid(), os.getegid(), _user_name(os.geteuid()))


def unprivileged_account() -> OsAccount:
    """The account that root hands the server to; raises AccountUnusable."""
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise AccountUnusable(
            f"PostgreSQL refuses to run as root and this system has no account {UNPRIVILEGED!r}: "
            "run as a normal user, or set DATABASE_URL to a server"
        ) from None
    return OsAccount(entry.pw_uid, entry.pw_gid, entry.pw_name)


def path_owner(path: Path) -> OsAccount | None:
    """Who owns the path, None if it does not exist."""
    try:
        path_stat = path.lstat()
    except FileNotFoundError:
        return None
    return OsAccount(path_stat.st_uid, path_stat.st_gid, _user_name(path_stat.st_uid))


def run_command(
    account: OsAccount,
    command: Sequence[str | Path],
    *,
    timeout_s: float,
    stdin: str = "",
    inherited_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a command as the account; of our descriptors it inherits `keep_open` and no other.

    In a session of its own, because the terminal's Ctrl-C goes to the caller's process group.
    Raises AccountUnusable and CommandTimeout; a failing command is the caller's to judge.
    """
    switched_account = None if account.is_current else account
    try:
        process = subprocess.Popen(
            # Through sh, which every account can execute: an OSError then means the account itself.
            ["/bin/sh", "-c", 'exec "$0" "$@"', *command],
            user=switched_account.uid if switched_account else None,
            group=switched_account.gid if switched_account else None,
            extra_groups=[] if switched_account else None,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
            pass_fds=inherited_fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise AccountUnusable(f"cannot run commands as {account}: {error.strerror}") from None
    with process:
        return _communicate(process, command, stdin, timeout_s)


def can_enter(account: OsAccount, folder: Path) -> bool:
    """Whether the account can step into the folder, found out by really trying."""
    return run_command(account, ["/bin/sh", "-c", 'cd "$0"', folder], timeout_s=10).returncode == 0


def _communicate(
    process: "subprocess.Popen[str]", command: Sequence[str | Path], stdin: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _terminate(process)
        raise CommandTimeout(f"{command[0]} did not end within {timeout_s:.0f} s") from None
    except BaseException:  # Ctrl-C
        _terminate(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _terminate(process: "subprocess.Popen[str]") -> None:
    # Politely: initdb waits for its children, who would otherwise leave shared memory behind.
    process.terminate()
    try:
        process.communicate(timeout=TERMINATE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
