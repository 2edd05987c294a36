"""`flask up`: everything on this machine, for development."""

import errno
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
from flask import current_app

from vca.kit import cli, db, embedded, log
from vca.kit.config import ROOT, Settings, hand_on
from vca.kit.embedded.directories import make_parents
from vca.kit.embedded.waiting import Deadline
from vca.registry import deployment, owner, schema
from vca.registry.tenants import fleet
from vca.serve import demo
from vca.serve.demo import Seeded
from vca.serve.interrupts import Interrupts
from vca.serve.processes import ChildEnded, ProcessGroup
from vca.tenancy.fleet import WORKERS

# The number that `make call` rings.
DIALLED = demo.BUSINESSES[0].number
READY_S = 60.0
LOOK_EVERY_S = 0.1
GUNICORN_LOG = "gunicorn.log"
RELAY_LOG = "relay.log"
WORKER_LOG = "worker.log"
_PROBE = b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Postgres:
    """The embedded server, ended with us if we started it; nothing where there is none."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.ours = False

    def __enter__(self) -> "Postgres":
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder is not None and self.ours:
            embedded.stop(self.folder)

    def start(self) -> None:
        """Make it run; may be interrupted at any moment. Raises EmbeddedError."""
        if self.folder is None:
            return
        # Ours until we know better: an interruption may come when it runs and we were not told.
        self.ours = not embedded.status(self.folder).running
        started = embedded.start(self.folder)
        self.ours = started.by_this_call
        if started.server.note:
            _say(f"Of the embedded Postgres: {started.server.note}.")


@click.command("up")
@cli.bounded
def up() -> None:
    """Run Postgres, web server and worker on this machine, with two demo tenants; for development.

    Ctrl-C or SIGTERM stops what it started.
    """
    settings: Settings = current_app.extensions["settings"]
    if settings.production:
        cli.fail("`flask up` is for development; in production run gunicorn and `flask worker`.")
    log.configure("warning", stream=sys.stderr)
    with _listen(settings.host, settings.port) as listener:
        try:
            _run(settings, listener, Interrupts())
        except (ChildEnded, embedded.EmbeddedError) as error:
            cli.fail(str(error))
        except KeyboardInterrupt:
            _say("Stopped.")


def _run(settings: Settings, listener: socket.socket, interrupts: Interrupts) -> None:
    """Start everything and watch it, until a child ends or somebody asks us to."""
    postgres = Postgres(settings.embedded_folder)
    with postgres, ProcessGroup(hurried=lambda: interrupts.repeated) as group:
        try:
            _say("Starting …")
            # Before the database, because it takes as long as everything else together.
            _start_gunicorn(group, settings, listener)
            if settings.relay_slots:
                _start_relay(group, settings)
            with interrupts.allowed():
                seeded = _prepare(settings, postgres)
            group.start(
                "worker", "flask", "--app", "wsgi", "worker", log=settings.state_folder / WORKER_LOG
            )
            with interrupts.allowed():
                _await_answer(listener, group)
                _say(_summary(settings, _address(listener), seeded, postgres.ours))
                _watch(group)
        except KeyboardInterrupt:
            _say("\nStopping …")
            raise


def _listen(host: str, port: int) -> socket.socket:
    """The listening socket that gunicorn inherits: taken at once, so that nobody else gets it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            cli.fail(f"Port {port} of {host} cannot be used: {error.strerror or error}.")
        other = f"make run PORT={port % 65535 + 1}"
        cli.fail(f"Port {port} is taken, perhaps by another `make run`; try `{other}`.")


def _start_gunicorn(group: ProcessGroup, settings: Settings, listener: socket.socket) -> None:
    file = settings.state_folder / GUNICORN_LOG
    make_parents(file)
    bind = f"fd://{listener.fileno()}"
    fds = [listener.fileno()]
    group.start("gunicorn", "gunicorn", "--bind", bind, "wsgi:app", log=file, pass_fds=fds)


def _start_relay(group: ProcessGroup, settings: Settings) -> None:
    """The group that serves carriers' sockets, on RELAY_PORT."""
    hand_on("GUNICORN_GROUP", "relay")
    group.start("relay", "gunicorn", "wsgi:app", log=settings.state_folder / RELAY_LOG)
    hand_on("GUNICORN_GROUP", "web")


def _prepare(settings: Settings, postgres: Postgres) -> Sequence[Seeded]:
    """A database that runs, is migrated, and has the demo in it."""
    postgres.start()
    with owner.database(connections=2 * WORKERS) as database:
        schema.upgrade(database, deployment.configured(settings))
        outcome, _ = fleet.migrate(database)
    for tenant, why in outcome.failed.items():
        _say(f"Tenant {tenant.id} could not be migrated ({why}); see `flask tenants status`.")
    seeded = demo.seed(settings.peppers, settings.state_folder / demo.NOTES)
    db.current().close()
    return seeded


def _await_answer(listener: socket.socket, group: ProcessGroup) -> None:
    deadline = Deadline.after(READY_S)
    while not _answers(listener):
        group.check()
        if not deadline.left_s:
            raise ChildEnded(f"gunicorn did not answer within {READY_S:.0f} s.")


def _answers(listener: socket.socket) -> bool:
    with suppress(OSError), socket.create_connection(_place(listener), timeout=1) as connection:
        connection.sendall(_PROBE)
        return b" 200 " in connection.recv(100)
    return False


def _watch(group: ProcessGroup) -> None:
    """Until a child ends; raises ChildEnded."""
    while True:
        group.check()
        time.sleep(LOOK_EVERY_S)


def _place(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return _EVERYWHERE.get(host, host), port


def _address(listener: socket.socket) -> str:
    host, port = _place(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _summary(settings: Settings, address: str, seeded: Sequence[Seeded], ours: bool) -> str:
    """What a newcomer needs, on one screen."""
    lines = ["", _bold(f"VCA runs at {address}"), f"Its API is explained at {address}/docs", ""]
    for item in seeded:
        lines += [f"  {item.name}  {item.number or '(no number)'}"]
        lines += [f"    tenant  {item.tenant_id}", f"    key     {item.key}"]
    lines += ["", *_suggestions(address, seeded)]
    logs = [_shown(settings.state_folder / name) for name in (GUNICORN_LOG, WORKER_LOG)]
    lines += [f"Logs: {' and '.join(logs)}."]
    stays = settings.embedded_folder is not None and not ours
    exception = ", except Postgres, which ran before (`.venv/bin/flask db stop`)" if stays else ""
    return "\n".join([*lines, f"Ctrl-C stops it all{exception}."])


def _suggestions(address: str, seeded: Sequence[Seeded]) -> list[str]:
    """What to try first, in a second terminal."""
    able = [item for item in seeded if item.number]
    if not able:
        return []
    first = able[0]
    url = f"{address}/api/tenants/{first.tenant_id}/phone-numbers"
    call = "make call" if first.number == DIALLED else f"make call DID={first.number}"
    return [
        "Try, in a second terminal:",
        "",
        f'  curl -H "Authorization: Bearer {first.key}" {url}',
        f"  {call}   rings {first.number}; you type, {first.name} answers",
        "",
    ]


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _say(text: str) -> None:
    """To a terminal that may be closed by now; then to nobody, so that it fails no more."""
    try:
        click.echo(text)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
