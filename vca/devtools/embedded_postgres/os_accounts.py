"""Which operating-system account the server runs as, and running commands as that account.

PostgreSQL refuses to run as root, so root uses an unprivileged account. Everything inside a folder
of that account is also done as that account, because a planted link there could make root modify
other files.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vca.devtools.embedded_postgres.errors import EmbeddedError

UNPRIVILEGED = "nobody"
# How long a command may take to exit after SIGTERM.
TERMINATE_TIMEOUT_S = 5.0

# The caller's environment is not inherited: it contains secrets, and PG* variables that would
# change what the programs do.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LC_ALL": "C"}


class AccountUnusable(EmbeddedError):
    """The unprivileged account does not exist, or this process may not switch to it."""


class CommandTimeout(EmbeddedError):
    """A command did not finish within its timeout."""


@dataclass(frozen=True)
class OsAccount:
    """An account of the operating system."""

    uid: int
    gid: int
    name: str

    @property
    def is_current(self) -> bool:
        """Whether this process runs under the account."""
        return self.uid == os.geteuid()

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"


def is_root() -> bool:
    """Return whether this process is root, which may use any account but not run Postgres."""
    return os.geteuid() == 0


def current_account() -> OsAccount:
    """Return the account of this process."""
    return OsAccount(os.geteuid(), os.getegid(), _user_name(os.geteuid()))


def unprivileged_account() -> OsAccount:
    """Return the account that root runs the server as; raises AccountUnusable."""
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise AccountUnusable(
            f"PostgreSQL refuses to run as root and this system has no account {UNPRIVILEGED!r}: "
            "run as a normal user, or set DATABASE_URL to a server"
        ) from None
    return OsAccount(entry.pw_uid, entry.pw_gid, entry.pw_name)


def path_owner(path: Path) -> OsAccount | None:
    """Return the owner of the path, or None if it does not exist."""
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
    """Run a command as the account; it inherits only the file descriptors `inherited_fds`.

    The command gets its own session, because Ctrl-C in a terminal is sent to the caller's process
    group. Raises AccountUnusable and CommandTimeout; the caller checks the exit status.
    """
    switched_account = None if account.is_current else account
    try:
        process = subprocess.Popen(
            # Through sh, which every account can execute, so an OSError means that the account is
            # unusable.
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
    """Return whether the account can enter the folder, found out by trying it."""
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
    # SIGTERM first: initdb waits for its children, which would otherwise leave shared memory
    # behind.
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
