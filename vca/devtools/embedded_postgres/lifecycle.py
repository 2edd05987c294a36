"""Start, stop and inspect the server of a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vca.devtools.embedded_postgres import binaries, cluster, locks, logs, paths, process, roles
from vca.devtools.embedded_postgres.errors import translate_os_errors
from vca.devtools.embedded_postgres.server import Server
from vca.kit.deadline import Deadline

_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class StartResult:
    """A server that accepts connections."""

    server: Server
    started_now: bool


@dataclass(frozen=True)
class Status:
    """The status of a folder's server."""

    running: bool
    pid: int | None
    version: str
    url: str
    migration_url: str
    worker_url: str
    data_dir: Path
    socket_dir: Path
    log: Path
    binaries: Path
    run_as: str
    note: str | None

    def as_dict(self) -> dict[str, str | int | bool | None]:
        """Return the fields as JSON values."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(self).items()
        }


@translate_os_errors()
def start(
    folder: Path,
    *,
    timeout_s: float = 60,
    state_root: Path = paths.STATE_ROOT,
    extra_settings: Mapping[str, str] = _NO_SETTINGS,
) -> StartResult:
    """Start the folder's server with its logins and database; raises EmbeddedError.

    Repeated or concurrent calls from any process share one server. The server outlives the process
    that started it. `extra_settings` apply to a server that this call starts; a running one keeps
    its own.
    """
    deadline = Deadline.after(timeout_s)
    server = paths.server_for(folder, state_root=state_root)
    programs = server.binaries
    paths.create_directories(server)
    binaries.ensure_programs(programs, server.account, server.state_root, deadline)
    with locks.hold_lock(server.launch_lock, deadline) as lock:
        was_running = _join_running_server(server, programs, deadline)
        if not was_running:
            cluster.ensure(server, programs, lock=lock, deadline=deadline)
            _launch(server, programs, deadline, extra_settings)
    return StartResult(server, started_now=not was_running)


@translate_os_errors()
def stop(folder: Path, *, timeout_s: float = 30, state_root: Path = paths.STATE_ROOT) -> bool:
    """Stop the folder's server; return False if none ran; raise EmbeddedError if it fails."""
    server = paths.server_for(folder, state_root=state_root)
    if not server.launch_lock.exists():
        return False
    with locks.hold_lock(server.launch_lock, Deadline.after(timeout_s)):
        if not process.has_processes(server):
            return False
        process.stop(server, timeout_s)
    return True


@translate_os_errors()
def status(folder: Path, *, state_root: Path = paths.STATE_ROOT) -> Status:
    """Return the status of the folder's server, running or not; raises EmbeddedError."""
    server = paths.server_for(folder, state_root=state_root)
    pid_file = process.running_postmaster(server)
    return Status(
        running=pid_file is not None,
        pid=pid_file.pid if pid_file else None,
        version=binaries.read_version(binaries.wheel_programs()),
        url=server.url,
        migration_url=server.migration_url,
        worker_url=server.worker_url,
        data_dir=server.data_dir,
        socket_dir=server.socket_dir,
        log=logs.latest_log_file(server),
        binaries=server.binaries,
        run_as=server.account.name,
        note=server.note,
    )


def _join_running_server(server: Server, programs: Path, deadline: Deadline) -> bool:
    # A server that was just killed still accepts connections until the kernel has removed it.
    while process.wait_until_settled(server, deadline):
        try:
            roles.ensure(server, programs, deadline)
        except roles.ServerUnreachable:
            if not deadline.remaining_s:
                raise
        else:
            return True
    return False


def _launch(
    server: Server, programs: Path, deadline: Deadline, extra_settings: Mapping[str, str]
) -> None:
    try:
        process.launch(server, programs, deadline, extra_settings=extra_settings)
        roles.ensure(server, programs, deadline)
    except process.StartFailed:
        raise  # it may be in a long recovery, which a restart would only repeat
    except BaseException:  # mostly Ctrl-C: the server must not keep running unnoticed
        process.stop(server, timeout_s=5)
        raise
