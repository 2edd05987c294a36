"""CPU time of process trees, from /proc."""

import os
from pathlib import Path

_CLOCK_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class ProcessNotLocal(RuntimeError):
    """The process does not run on this machine."""


def process_tree_s(root: int) -> float:
    """Return the user and system seconds of `root` and its children so far.

    Children that have ended and were waited for are included. Grandchildren are not: the postmaster
    and gunicorn's master have none.
    """
    root_stat = _read_stat(root)
    child_stats = [stat for stat in map(_read_stat, _child_pids(root)) if stat is not None]
    if root_stat is None:
        raise ProcessNotLocal(f"process {root} is gone")
    reaped_ticks = root_stat[3] + root_stat[4]
    return (
        sum(root_stat[1:3]) + reaped_ticks + sum(sum(stat[1:3]) for stat in child_stats)
    ) * _CLOCK_TICK_S


def parent_pid(pid: int) -> int:
    """Return the parent's process id; raises ProcessNotLocal."""
    stat = _read_stat(pid)
    if stat is None:
        raise ProcessNotLocal(f"process {pid} is not on this machine")
    return stat[0]


def process_name(pid: int) -> str:
    """Return the name of the process; raises ProcessNotLocal."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except FileNotFoundError:
        raise ProcessNotLocal(f"process {pid} is not on this machine") from None


def _child_pids(root: int) -> list[int]:
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (stat := _read_stat(pid)) is not None and stat[0] == root]


def _read_stat(pid: int) -> tuple[int, int, int, int, int] | None:
    """Return the parent id and four tick counts of a process, or None when it is gone.

    The counts are user and system ticks, then those of children that were waited for.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return (int(fields[1]), *map(int, fields[11:15]))  # type: ignore[return-value] # four fields
