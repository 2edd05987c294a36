"""CPU time of whole process trees, from /proc."""

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class NotHere(RuntimeError):
    """The process does not run on this machine."""


def tree_s(root: int) -> float:
    """User and system seconds that `root` and its children used so far, reaped children included.

    The postmaster and gunicorn's master have no grandchildren.
    """
    own = _stat(root)
    living = [stat for stat in map(_stat, _children(root)) if stat is not None]
    if own is None:
        raise NotHere(f"process {root} is gone")
    reaped = own[3] + own[4]
    return (sum(own[1:3]) + reaped + sum(sum(stat[1:3]) for stat in living)) * _TICK_S


def parent(pid: int) -> int:
    """The parent's process id; raises NotHere."""
    stat = _stat(pid)
    if stat is None:
        raise NotHere(f"process {pid} is not on this machine")
    return stat[0]


def name(pid: int) -> str:
    """What the process is called; raises NotHere."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except FileNotFoundError:
        raise NotHere(f"process {pid} is not on this machine") from None


def _children(root: int) -> list[int]:
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) is not None and stat[0] == root]


def _stat(pid: int) -> tuple[int, int, int, int, int] | None:
    """Parent, user, system, and reaped children's user and system ticks; None when it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return (int(fields[1]), *map(int, fields[11:15]))  # type: ignore[return-value] # four of them
