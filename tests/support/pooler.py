"""Run a PgBouncer in transaction mode before a database."""

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

from tests.support.processes import free_port, wait_until
from tests.support.tcp_proxy import TcpProxy

# Debian installs it in a folder that is only on root's PATH.
PGBOUNCER = shutil.which(
    "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
)
# PgBouncer refuses to run as root. This is the uid of `nobody`, or an unused one.
_UNPRIVILEGED = 65_534
SERVER_CONNECTIONS = 2

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
def run_pgbouncer(
    url: str, folder: Path, *, database_options: str = "", ignored_parameters: str = "options"
) -> Iterator[Pooler]:
    """Run PgBouncer before the database of `url` until the block ends.

    `database_options` are appended to the configuration line of the database.
    """
    target = make_url(url)
    listen_port = free_port()
    with ExitStack() as stack:
        # The unprivileged account may not access the server's socket, so a proxy of ours connects
        # to it.
        server_url = make_url(stack.enter_context(TcpProxy(url)).url)
        config = stack.enter_context(
            _config_file(
                _build_config(
                    target, listen_port, server_url.port, database_options, ignored_parameters
                )
            )
        )
        log = folder / f"pgbouncer-{listen_port}.log"
        process = stack.enter_context(_run_process(config, log))
        wait_until(lambda: _is_listening(listen_port, process, log))
        pooler_url = URL.create(
            "postgresql", target.username, "any", "127.0.0.1", listen_port, target.database
        )
        yield Pooler(process, pooler_url.render_as_string(hide_password=False), log)


def _build_config(
    target: URL,
    listen_port: int,
    server_port: int | None,
    database_options: str,
    ignored_parameters: str,
) -> str:
    password = f"password='{target.password}'" if target.password else ""
    return _CONFIG.format(
        name=target.database,
        far=server_port,
        user=target.username,
        password=password,
        more=database_options,
        near=listen_port,
        servers=SERVER_CONNECTIONS,
        ignored=ignored_parameters,
    )


@contextmanager
def _config_file(config: str) -> Iterator[Path]:
    """Write the configuration to a file that only the unprivileged account can read."""
    with tempfile.TemporaryDirectory(prefix="vca-pgbouncer-") as folder:
        path = Path(folder) / "pgbouncer.ini"
        path.write_text(config)
        if os.geteuid() == 0:
            for owned_path in (Path(folder), path):
                os.chown(owned_path, _UNPRIVILEGED, _UNPRIVILEGED)
        yield path


@contextmanager
def _run_process(config: Path, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    assert PGBOUNCER is not None
    as_root = os.geteuid() == 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [PGBOUNCER, str(config)],
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


def _is_listening(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False
