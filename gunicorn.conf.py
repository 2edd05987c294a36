"""Production server settings, each with its reason. `gunicorn wsgi:app` reads this by itself."""

import gc
import signal
import socket
from importlib import import_module
from typing import Any

from vca.settings import SettingsError, report_settings_error, settings_or_exit

# Read here too, in the master: a worker that cannot start would be started again for ever. The
# hooks import what they need themselves, so that a wrong setting is told at once.
_settings = settings_or_exit()

# Carriers' sockets are served by a group of their own: each holds a thread for as long as its call
# lasts, and requests must not wait for that.
_SERVES_RELAY = _settings.serves_relay

bind = f"{_settings.host}:{_settings.relay_port if _SERVES_RELAY else _settings.port}"
# Threads, never sync: a sync worker serves one connection at a time, so a few half-open ones stop
# it, and a call's turn that waits for a model must not keep others waiting.
worker_class = "gthread"
workers = _settings.relay_workers if _SERVES_RELAY else _settings.web_workers
# Requests that are refused for their number have threads of their own, in which they wait.
threads = (
    _settings.relay_threads
    if _SERVES_RELAY
    else _settings.web_threads + _settings.rate_limit_threads
)
# A worker whose threads all hold a socket leaves the next one to another worker: taken, it would
# wait for a caller to hang up. So there is no room for connections that say nothing, either.
worker_connections = threads if _SERVES_RELAY else 1_000
# A worker whose main thread shows no life for this long is replaced; requests have threads of their
# own, and a few may last longer.
timeout = 30
# A deploy lets the turns that are being answered finish, and the words of sockets be heard to their
# end; a replay it may cut off.
graceful_timeout = 45 if _SERVES_RELAY else 30
# How long the kernel waits for the first byte of a connection before a worker has to.
DEFER_ACCEPT_S = 30
# Longer than usual load balancers' idle time, so that they close first, not in mid-request.
keepalive = 0 if _SERVES_RELAY else 75
# Bounded life: whatever leaks is given back; the jitter keeps workers from going all at once. Who
# holds calls ends with a deploy alone.
max_requests = 0 if _SERVES_RELAY else 10_000
max_requests_jitter = 1_000
# Nothing legitimate comes near these; they bound what one request may cost before it is parsed.
limit_request_line = 4_094
limit_request_fields = 64
limit_request_field_size = 8_190
# The heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm"
# The control interface is off: it would sit in a shared runtime folder under one name for every
# instance on the machine, and signals do what operators need.
control_socket_disable = True
# The app writes one JSON line for each request itself.
accesslog = None
errorlog = "-"
loglevel = "warning"
# No forwarded header is believed: every URL we hand out comes from PUBLIC_BASE_URL.
forwarded_allow_ips = ""


def on_starting(server: Any) -> None:
    """Forget, in the master, what the processes of an earlier start have counted.

    And load the code, once for all workers; each makes an app of its own.
    """
    from vca.observability import prometheus

    if _settings.metrics_folder is not None:
        try:
            if _SERVES_RELAY:  # the web server's start forgets, for all of a machine's processes
                _settings.metrics_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                prometheus.remove_dead_process_files(_settings.metrics_folder)
        except OSError as error:
            raise report_settings_error(
                SettingsError([f"METRICS_DIR cannot be written to: {error}"])
            ) from None
    # None of it is garbage; and what nobody looks through stays the processes' common memory.
    gc.disable()
    import_module("vca.app")
    gc.freeze()
    gc.enable()


def when_ready(server: Any) -> None:
    """Have the kernel keep who connects and says nothing, where it can.

    A worker would give each of them a thread for five seconds: a few dozen stop it.
    """
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        for listener in server.LISTENERS:
            if listener.sock.family != socket.AF_UNIX:
                listener.sock.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_S
                )


def child_exit(server: Any, worker: Any) -> None:
    """Keep, in the master, what a worker had counted when it ended, however it ended."""
    from vca.observability import prometheus

    if _settings.metrics_folder is not None:
        try:
            prometheus.merge_dead_process_files(_settings.metrics_folder)
        except OSError as error:  # it would end the master, and with it the service
            server.log.error("Metrics of worker %s are lost: %s", worker.pid, error)


def post_worker_init(worker: Any) -> None:
    """Count where all workers do, and be ready.

    Load the models' SDK and the migrations now, and not while the first caller waits.
    """
    from vca.observability import prometheus
    from vca.tenancy import schema
    from vca.tenant.calls.core import call_services

    prometheus.configure_metrics(_settings.metrics_folder)
    call_services.current_services().models.warm_up()
    schema.head()
    if _SERVES_RELAY:
        _drain_on_sigterm()


def _drain_on_sigterm() -> None:
    """Have the sockets end where nobody speaks, before gunicorn waits for them to."""
    from vca.servers.relay import draining

    previous_handler = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: Any) -> None:
        draining.start_draining()
        if callable(previous_handler):
            previous_handler(number, frame)

    signal.signal(signal.SIGTERM, drain)
