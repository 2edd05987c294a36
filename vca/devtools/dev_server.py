"""`flask up`: run everything on this machine, for development."""

import errno
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from vca import cli
from vca.devtools import demo_data, embedded_postgres
from vca.devtools.child_processes import ChildEnded, ProcessGroup
from vca.devtools.demo_data import SeededTenant
from vca.devtools.embedded_postgres.directories import make_parents
from vca.devtools.stop_signals import StopSignals
from vca.kit.deadline import Deadline
from vca.observability import log
from vca.registry import deployment, owner_connections, schema
from vca.registry.tenants import revision_store
from vca.services import Services, current_services
from vca.settings import ROOT, Settings, export_env
from vca.tenancy.migration_runner import WORKERS

# The number that `make call` dials.
DEFAULT_CALL_NUMBER = demo_data.DEMO_TENANTS[0].number
READY_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.1
GUNICORN_LOG = "gunicorn.log"
RELAY_LOG = "relay.log"
WORKER_LOG = "worker.log"
_PROBE_REQUEST = b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n"
_LOOPBACK_BY_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class EmbeddedPostgres:
    """The embedded server, stopped at exit if we started it. Without a folder it does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.started_here = False

    def __enter__(self) -> "EmbeddedPostgres":
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder is not None and self.started_here:
            embedded_postgres.stop(self.folder)

    def start(self) -> None:
        """Start the server. May be interrupted at any time. Raises EmbeddedError."""
        if self.folder is None:
            return
        # Assume that this starts it: an interruption may come after that, but before we know.
        self.started_here = not embedded_postgres.status(self.folder).running
        result = embedded_postgres.start(self.folder)
        self.started_here = result.started_now
        if result.server.note:
            _print(f"Embedded Postgres: {result.server.note}.")


@click.command("up")
@cli.with_db_timeout
def up() -> None:
    """Run everything for development.

    Runs Postgres, the web server and the worker on this machine, with two demo tenants. Ctrl-C or
    SIGTERM stops what it started.
    """
    settings: Settings = current_services().settings
    if settings.production:
        cli.fail("`flask up` is for development; in production run gunicorn and `flask worker`.")
    log.configure("warning", stream=sys.stderr)
    with _open_listener(settings.host, settings.port) as listener:
        try:
            _start_and_watch(settings, listener, StopSignals(), services=current_services())
        except (ChildEnded, embedded_postgres.EmbeddedError) as error:
            cli.fail(str(error))
        except KeyboardInterrupt:
            _print("Stopped.")


def _start_and_watch(
    settings: Settings, listener: socket.socket, stop_signals: StopSignals, *, services: Services
) -> None:
    """Start everything and watch it, until a child ends or a stop signal arrives."""
    postgres = EmbeddedPostgres(settings.embedded_folder)
    with postgres, ProcessGroup(skip_grace=lambda: stop_signals.repeated) as group:
        try:
            _print("Starting …")
            # Before the database, because it takes as long as everything else together.
            _start_gunicorn(group, settings, listener)
            if settings.relay_slots:
                _start_relay(group, settings)
            with stop_signals.interruptible():
                seeded = _prepare_database(settings, postgres, services=services)
            group.start(
                "worker", "flask", "--app", "wsgi", "worker", log=settings.state_folder / WORKER_LOG
            )
            with stop_signals.interruptible():
                _wait_until_ready(listener, group)
                _print(_summary(settings, _base_url(listener), seeded, postgres.started_here))
                _watch_children(group)
        except KeyboardInterrupt:
            _print("\nStopping …")
            raise


def _open_listener(host: str, port: int) -> socket.socket:
    """Return the socket that gunicorn inherits. Opened first, so that nobody else gets the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            cli.fail(f"Cannot use port {port} of {host}: {error.strerror or error}.")
        command = f"make run PORT={port % 65535 + 1}"
        cli.fail(f"Port {port} is in use, perhaps by another `make run`. Try `{command}`.")


def _start_gunicorn(group: ProcessGroup, settings: Settings, listener: socket.socket) -> None:
    file = settings.state_folder / GUNICORN_LOG
    make_parents(file)
    bind = f"fd://{listener.fileno()}"
    fds = [listener.fileno()]
    group.start("gunicorn", "gunicorn", "--bind", bind, "wsgi:app", log=file, pass_fds=fds)


def _start_relay(group: ProcessGroup, settings: Settings) -> None:
    """Start the processes that serve voice WebSockets, on RELAY_PORT."""
    export_env("GUNICORN_GROUP", "relay")
    group.start("relay", "gunicorn", "wsgi:app", log=settings.state_folder / RELAY_LOG)
    export_env("GUNICORN_GROUP", "web")


def _prepare_database(
    settings: Settings, postgres: EmbeddedPostgres, *, services: Services
) -> Sequence[SeededTenant]:
    """Start and migrate the database, and create the demo tenants."""
    postgres.start()
    with owner_connections.owner_database(connections=2 * WORKERS) as database:
        schema.upgrade_public_schema(database, deployment.from_settings(settings))
        migration, _ = revision_store.migrate_tenants(database)
    for tenant, reason in migration.failed.items():
        _print(f"Tenant {tenant.id} could not be migrated ({reason}); see `flask tenants status`.")
    seeded = demo_data.seed_demo_tenants(
        settings.peppers, settings.state_folder / demo_data.KEYS_FILE_NAME, services=services
    )
    services.database.close()
    return seeded


def _wait_until_ready(listener: socket.socket, group: ProcessGroup) -> None:
    deadline = Deadline.after(READY_TIMEOUT_S)
    while not _is_ready(listener):
        group.check_children()
        if not deadline.remaining_s:
            raise ChildEnded(f"gunicorn did not answer within {READY_TIMEOUT_S:.0f} s.")


def _is_ready(listener: socket.socket) -> bool:
    with (
        suppress(OSError),
        socket.create_connection(_loopback_address(listener), timeout=1) as connection,
    ):
        connection.sendall(_PROBE_REQUEST)
        return b" 200 " in connection.recv(100)
    return False


def _watch_children(group: ProcessGroup) -> None:
    """Watch the children until one of them ends. Raises ChildEnded."""
    while True:
        group.check_children()
        time.sleep(POLL_INTERVAL_S)


def _loopback_address(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return _LOOPBACK_BY_WILDCARD.get(host, host), port


def _base_url(listener: socket.socket) -> str:
    host, port = _loopback_address(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _summary(
    settings: Settings, base_url: str, seeded: Sequence[SeededTenant], postgres_started_here: bool
) -> str:
    """Return what a new developer needs, on one screen."""
    lines = ["", _bold(f"VCA runs at {base_url}"), f"API documentation: {base_url}/docs", ""]
    for item in seeded:
        lines += [f"  {item.name}  {item.number or '(no number)'}"]
        lines += [f"    tenant  {item.tenant_id}", f"    key     {item.key}"]
    lines += ["", *_suggestions(base_url, seeded)]
    logs = [_display_path(settings.state_folder / name) for name in (GUNICORN_LOG, WORKER_LOG)]
    lines += [f"Logs: {' and '.join(logs)}."]
    postgres_stays = settings.embedded_folder is not None and not postgres_started_here
    exception = (
        ", except Postgres, which was already running (`.venv/bin/flask db stop`)"
        if postgres_stays
        else ""
    )
    return "\n".join([*lines, f"Ctrl-C stops everything{exception}."])


def _suggestions(base_url: str, seeded: Sequence[SeededTenant]) -> list[str]:
    """Return what to try first, in a second terminal."""
    callable_tenants = [item for item in seeded if item.number]
    if not callable_tenants:
        return []
    first = callable_tenants[0]
    url = f"{base_url}/api/tenants/{first.tenant_id}/phone-numbers"
    calls = [(_call_command(item), f"calls {item.name}; you type") for item in callable_tenants]
    width = max(len(command) for command, _ in calls)
    return [
        "Try, in a second terminal:",
        "",
        f'  curl -H "Authorization: Bearer {first.key}" {url}',
        *(f"  {command:{width}}   {text}" for command, text in calls),
        "",
    ]


def _call_command(item: SeededTenant) -> str:
    """Return the command that calls the tenant's number."""
    return "make call" if item.number == DEFAULT_CALL_NUMBER else f"make call DID={item.number}"


def _display_path(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _print(text: str) -> None:
    """Print a text to a terminal that may have been closed.

    If it was closed, discard all output from now on, so that printing does not fail again.
    """
    try:
        click.echo(text)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
