"""Starting, stopping and looking at the server of a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vca.kit.embedded import binaries, cluster, locks, logs, places, process, roles
from vca.kit.embedded.errors import one_sentence
from vca.kit.embedded.server import Server
from vca.kit.embedded.waiting import Deadline

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Started:
    """A server that answers."""

    server: Server
    by_this_call: bool


@dataclass(frozen=True)
class Status:
    """What there is to know about a folder's server."""

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
        """Ready for JSON."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(self).items()
        }


@one_sentence()
def start(
    folder: Path,
    *,
    timeout_s: float = 60,
    state_root: Path = places.STATE_ROOT,
    more_settings: Mapping[str, str] = _NONE,
) -> Started:
    """Make the folder's server run and answer, with its login and database; raises EmbeddedError.

    Repeated or concurrent calls, from any process, find the one server. It outlives its starter.
    `more_settings` are for a server that this call starts; one that runs keeps what it has.
    """
    deadline = Deadline.after(timeout_s)
    server = places.server_for(folder, state_root=state_root)
    programs = server.binaries
    places.prepare(server)
    binaries.provide(programs, server.account, server.state_root, deadline)
    with locks.held(server.launch_lock, deadline) as lock:
        joined = _join(server, programs, deadline)
        if not joined:
            cluster.ensure(server, programs, lock=lock, deadline=deadline)
            _launch(server, programs, deadline, more_settings)
    return Started(server, by_this_call=not joined)


@one_sentence()
def stop(folder: Path, *, timeout_s: float = 30, state_root: Path = places.STATE_ROOT) -> bool:
    """End the folder's server, False if none ran; raises EmbeddedError if it will not end."""
    server = places.server_for(folder, state_root=state_root)
    if not server.launch_lock.exists():
        return False
    with locks.held(server.launch_lock, Deadline.after(timeout_s)):
        if not process.lives(server):
            return False
        process.stop(server, timeout_s)
    return True


@one_sentence()
def status(folder: Path, *, state_root: Path = places.STATE_ROOT) -> Status:
    """What there is to know about the folder's server, running or not; raises EmbeddedError."""
    server = places.server_for(folder, state_root=state_root)
    found = process.running(server)
    return Status(
        running=found is not None,
        pid=found.pid if found else None,
        version=binaries.version(binaries.wheels_own()),
        url=server.url,
        migration_url=server.migration_url,
        worker_url=server.worker_url,
        data_dir=server.data_dir,
        socket_dir=server.socket_dir,
        log=logs.current(server),
        binaries=server.binaries,
        run_as=server.account.name,
        note=server.note,
    )


def _join(server: Server, programs: Path, deadline: Deadline) -> bool:
    # A server that was just killed still accepts connections until the kernel has buried it.
    while process.settle(server, deadline):
        try:
            roles.ensure(server, programs, deadline)
        except roles.NotReached:
            if not deadline.left_s:
                raise
        else:
            return True
    return False


def _launch(
    server: Server, programs: Path, deadline: Deadline, more_settings: Mapping[str, str]
) -> None:
    try:
        process.launch(server, programs, deadline, more_settings=more_settings)
        roles.ensure(server, programs, deadline)
    except process.DidNotStart:
        raise  # it may be busy with a long recovery, which would only begin again
    except BaseException:  # Ctrl-C above all: nobody would know that it runs
        process.stop(server, timeout_s=5)
        raise
