"""The server's processes: check whether they are alive, start and stop them.

There are two signs of life. The postmaster accepts connections at the socket that `postmaster.pid`
names. And every process of the server holds `life.lock` from its start, through a descriptor
inherited from the launcher. The lock is therefore free exactly when the last process has ended,
even if it was killed or another process has the recorded pid by now.
"""

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vca.devtools.embedded_postgres import locks, logs, os_accounts, settings
from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.server import Server
from vca.kit.deadline import Deadline

# Each start creates a new directory for the socket, and `socket` links to it. A postmaster whose
# folder was deleted notices within a minute and removes its socket by path. It must not remove the
# socket of a successor in the same folder.
LAUNCH_SCRIPT = """
umask 077
log_dir=$1 sockets=$2 own=$3; shift 3
mkdir -p "$log_dir" && rm -rf "$sockets"/socket.* && mkdir "$sockets/$own" || exit
ln -sfn "$own" "$sockets/socket" || exit
exec "$@" </dev/null >"$log_dir/launch.log" 2>&1 &
"""
# After SIGQUIT the postmaster waits 5 s for its children before it kills them.
IMMEDIATE_SHUTDOWN_S = 15.0


class StartFailed(EmbeddedError):
    """The server ended at once, or does not accept connections in time."""


class StopFailed(EmbeddedError):
    """Some processes of the server did not end."""


@dataclass(frozen=True)
class PidFile:
    """The content of `postmaster.pid`."""

    pid: int
    socket: Path
    ready: bool


def running_postmaster(server: Server) -> PidFile | None:
    """Return the content of `postmaster.pid` if the server accepts connections, or None."""
    pid_file = _read_pid_file(server)
    return (
        pid_file if pid_file and pid_file.ready and _accepts_connections(pid_file.socket) else None
    )


def wait_until_settled(server: Server, deadline: Deadline) -> bool:
    """Wait until the server accepts connections (True) or has ended completely (False).

    In between it is starting or stopping, or was killed and a backend has not noticed yet. Raises
    StartFailed.
    """
    if not deadline.wait_until(
        lambda: bool(running_postmaster(server)) or not _holds_life_lock(server)
    ):
        raise StartFailed(
            f"processes of an earlier server in {server.home} neither respond nor end; "
            f"its log ends with:\n{logs.last_lines(server)}"
        )
    return running_postmaster(server) is not None


def launch(
    server: Server, programs: Path, deadline: Deadline, *, extra_settings: Mapping[str, str]
) -> None:
    """Start the server where none is alive and wait until it is ready; raises StartFailed."""
    # No process of the server is alive, so a pid file left by a crash names no process, or an
    # unrelated one.
    _pid_file(server).unlink(missing_ok=True)
    with locks.hold_lock(server.life_lock, deadline) as life_lock_fd:
        _spawn(server, programs, life_lock_fd, deadline, extra_settings)
    if not deadline.wait_until(
        lambda: bool(running_postmaster(server)) or not _holds_life_lock(server)
    ):
        raise StartFailed(
            f"PostgreSQL in {server.home} is not ready yet, and was left running; "
            f"its log ends with:\n{logs.last_lines(server)}"
        )
    if not running_postmaster(server):
        raise StartFailed(
            f"PostgreSQL did not start in {server.home}; its log ends with:\n"
            f"{logs.last_lines(server)}"
        )


def stop(server: Server, timeout_s: float) -> None:
    """Stop the server: fast shutdown, then immediate shutdown with a recovery at the next start.

    Raises StopFailed.
    """
    for signal, wait_s in (("INT", timeout_s), ("QUIT", IMMEDIATE_SHUTDOWN_S)):
        if _stop_with_signal(server, signal, Deadline.after(wait_s)):
            return
    raise StopFailed(f"processes of the server in {server.home} did not end")


def has_processes(server: Server) -> bool:
    """Return whether any process of the server is left, responding or not."""
    return running_postmaster(server) is not None or _holds_life_lock(server)


def _spawn(
    server: Server,
    programs: Path,
    life_lock_fd: int,
    deadline: Deadline,
    extra_settings: Mapping[str, str],
) -> None:
    socket_name = f"socket.{secrets.token_hex(4)}"
    options = settings.postgres_arguments(
        socket_dir=server.socket_root / socket_name,
        log_dir=server.log_dir,
        extra_settings=extra_settings,
    )
    postgres: list[str | Path] = [programs / "postgres", "-D", server.data_dir, *options]
    result = os_accounts.run_command(
        server.account,
        [
            "/bin/sh",
            "-c",
            LAUNCH_SCRIPT,
            "sh",
            server.log_dir,
            server.socket_root,
            socket_name,
            *postgres,
        ],
        timeout_s=deadline.remaining_s,
        inherited_fds=[life_lock_fd],
    )
    if result.returncode != 0:
        raise StartFailed(f"PostgreSQL did not start in {server.home}:\n{result.stderr.strip()}")


def _stop_with_signal(server: Server, signal: str, deadline: Deadline) -> bool:
    # A server that has just started has not written its pid file yet.
    deadline.wait_until(lambda: _send_signal(server, signal) or not has_processes(server))
    return deadline.wait_until(lambda: not has_processes(server))


def _holds_life_lock(server: Server) -> bool:
    return locks.is_locked(server.life_lock)


def _pid_file(server: Server) -> Path:
    return server.data_dir / "postmaster.pid"


def _read_pid_file(server: Server) -> PidFile | None:
    try:
        lines = _pid_file(server).read_text().splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].isdecimal():
        return None
    # A server that is starting has not written all eight lines yet.
    port, folder, _, _, state = (lines + [""] * 8)[3:8]
    return PidFile(int(lines[0]), Path(folder, f".s.PGSQL.{port}"), state.strip() == "ready")


def _accepts_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True


def _send_signal(server: Server, name: str) -> bool:
    # As the account, so that a forged file cannot make root signal an unrelated process.
    pid_file = _read_pid_file(server)
    if pid_file:
        os_accounts.run_command(
            server.account,
            ["/bin/sh", "-c", 'kill -s "$0" "$1"', name, str(pid_file.pid)],
            timeout_s=10,
        )
    return pid_file is not None
