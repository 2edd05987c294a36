"""A PgBouncer of the test's own, in transaction mode, before a database."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url

from tests.support.processes import free_port, until
from tests.support.relay import Relay

# Debian installs it where only root's PATH leads.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
# It refuses to run as root; this is `nobody`, or nobody at all.
_UNPRIVILEGED = 65_534
SERVERS = 2

_CONFIG = """
[databases]
{name} = host=127.0.0.1 port={far} dbname={name} user={user} {password} {more}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {near}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 100
ignore_startup_parameters = {ignored}
log_connections = 0
log_disconnections = 0
"""


@dataclass(frozen=True)
class Pooler:
    """A running PgBouncer."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path


@contextmanager
def pooled(url: str, folder: Path, *, more: str = "", ignored: str = "options") -> Iterator[Pooler]:
    """PgBouncer before the database of `url`, ended with the block.

    `more` is added to the line that names the database.
    """
    target = make_url(url)
    near = free_port()
    with ExitStack() as stack:
        # Another account may not see the server's socket: it gets there by way of ourselves.
        far = make_url(stack.enter_context(Relay(url)).url)
        config = stack.enter_context(_readable(_config(target, near, far.port, more, ignored)))
        log = folder / f"pgbouncer-{near}.log"
        process = stack.enter_context(_running(config, log))
        until(lambda: _listens(near, process, log))
        through = URL.create(
            "postgresql", target.username, "any", "127.0.0.1", near, target.database
        )
        yield Pooler(process, through.render_as_string(hide_password=False), log)


def _config(target: URL, near: int, far: int | None, more: str, ignored: str) -> str:
    password = f"password='{target.password}'" if target.password else ""
    return _CONFIG.format(
        name=target.database,
        far=far,
        user=target.username,
        password=password,
        more=more,
        near=near,
        servers=SERVERS,
        ignored=ignored,
    )


@contextmanager
def _readable(config: str) -> Iterator[Path]:
    """The configuration where the unprivileged account may read it, and nobody else."""
    with tempfile.TemporaryDirectory(prefix="vca-pgbouncer-") as folder:
        path = Path(folder) / "pgbouncer.ini"
        path.write_text(config)
        if os.geteuid() == 0:
            for one in (Path(folder), path):
                os.chown(one, _UNPRIVILEGED, _UNPRIVILEGED)
        yield path


@contextmanager
def _running(config: Path, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    assert PROGRAM is not None
    as_root = os.geteuid() == 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [PROGRAM, str(config)],
            cwd="/",
            user=_UNPRIVILEGED if as_root else None,
            group=_UNPRIVILEGED if as_root else None,
            extra_groups=[] if as_root else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False
