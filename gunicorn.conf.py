"""Production server settings, each with its reason. `gunicorn wsgi:app` reads this file."""

import gc
import signal
import socket
from importlib import import_module
from typing import Any

from vca.servers import open_files
from vca.settings import SettingsError, report_settings_error, settings_or_exit

# Read here too, in the master: a worker that cannot start would be restarted forever. The hooks
# import what they need themselves, so that an invalid setting is reported at once.
_settings = settings_or_exit()

# Voice WebSockets have processes of their own: each occupies a thread for its whole call, and
# requests must not wait for that.
_SERVES_RELAY = _settings.serves_relay

bind = f"{_settings.host}:{_settings.relay_port if _SERVES_RELAY else _settings.port}"
# Threads, never sync: a sync worker serves one connection at a time, so a few half-open ones block
# it, and a call's turn that waits for a model must not delay other requests.
worker_class = "vca.servers.gunicorn_worker.PooledThreadWorker"
workers = _settings.relay_workers if _SERVES_RELAY else _settings.web_workers
# What waits has threads in addition to those that work: rejections, other systems, slow clients.
# The README has a table of them.
threads = _settings.relay_threads if _SERVES_RELAY else _settings.thread_shares.total
# Where a system allows few open files at first, a thousand connections would be too many for it.
_max_files = open_files.raise_limit()
# A worker whose threads all hold a WebSocket accepts no further connection: it would wait until a
# caller hangs up. Another worker accepts it. So voice WebSockets allow no idle connections either.
worker_connections = threads if _SERVES_RELAY else open_files.max_connections(_max_files, 1_000)
# gunicorn replaces a worker whose main thread shows no activity for this long. Requests have
# threads of their own, and a few may take longer.
timeout = 30
# A deployment lets current turns finish, and lets WebSockets finish speaking. It may interrupt a
# replay.
graceful_timeout = max(45 if _SERVES_RELAY else 30, _settings.llm_timeout_s + 10)
# How long the kernel waits for the first byte of a connection before a worker gets it.
DEFER_ACCEPT_S = 30
# Longer than the usual idle timeout of load balancers, so that they close first and no request is
# lost.
keepalive = 0 if _SERVES_RELAY else 75
# A limited lifetime frees leaked memory. The jitter keeps workers from restarting all at once.
# Processes that hold calls end only with a deployment.
max_requests = 0 if _SERVES_RELAY else 10_000
max_requests_jitter = 1_000
# With the default of 700, every fourth turn of a call started a collection, although hardly any
# garbage needs one. That took 2 % of the CPU time.
GC_THRESHOLD = 20_000
# No legitimate request reaches these limits. They bound the cost of a request before it is parsed.
limit_request_line = 4_094
limit_request_fields = 64
limit_request_field_size = 8_190
# The heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm"
# The control interface is off: all instances on the machine would share one name in the runtime
# folder, and signals are enough for operation.
control_socket_disable = True
# The app itself logs one JSON line per request.
accesslog = None
errorlog = "-"
loglevel = "warning"
# Trust no forwarded header: VCA builds every URL that it gives out from PUBLIC_BASE_URL.
forwarded_allow_ips = ""


def on_starting(server: Any) -> None:
    """Reset, in the master, the metrics of an earlier start, and load the code.

    The code is loaded once for all workers. Each of them creates its own app.
    """
    from vca.observability import prometheus

    if _settings.metrics_folder is not None:
        try:
            if _SERVES_RELAY:  # the web server resets the metrics of all processes of the machine
                _settings.metrics_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                prometheus.remove_dead_process_files(_settings.metrics_folder)
        except OSError as error:
            raise report_settings_error(
                SettingsError([f"METRICS_DIR cannot be written to: {error}"])
            ) from None
    # None of this is garbage, and memory that the collector does not touch stays shared.
    gc.disable()
    import_module("vca.app")
    gc.freeze()
    gc.enable()


def when_ready(server: Any) -> None:
    """Make the kernel hold connections that send nothing, where it can.

    Each of them would be one of the worker's connections until its head is late.
    """
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        for listener in server.LISTENERS:
            if listener.sock.family != socket.AF_UNIX:
                listener.sock.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_S
                )


def child_exit(server: Any, worker: Any) -> None:
    """Keep, in the master, the metrics of a worker that ended, however it ended."""
    from vca.observability import prometheus

    if _settings.metrics_folder is not None:
        try:
            prometheus.merge_dead_process_files(_settings.metrics_folder)
        except OSError as error:  # an error would end the master, and with it the service
            server.log.error("Metrics of worker %s are lost: %s", worker.pid, error)


def post_worker_init(worker: Any) -> None:
    """Prepare a worker for its first request, and count its metrics with those of the others.

    The models' SDK, the migrations and the routing are loaded now, and not while the first caller
    waits. Later there may be no open file left to load them with.
    """
    from vca.observability import prometheus
    from vca.registry import unsigned_states
    from vca.registry.model_checks import background
    from vca.services import EXTENSION, Services
    from vca.tenancy import schema

    prometheus.configure_metrics(_settings.metrics_folder)
    app = worker.app.wsgi()
    services: Services = app.extensions[EXTENSION]
    # The first binding loads the codec of host names, the first match sorts the rules.
    app.url_map.bind("localhost").test("/livez")
    services.models.warm_up()
    background.start(services=services)
    unsigned_states.record_start(services=services)
    schema.head()
    # What a worker has loaded by now lives as long as the worker. The collector would look at all
    # of it again and again, and stop the worker's calls for some 50 ms each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    if _SERVES_RELAY:
        _drain_on_sigterm()


def _drain_on_sigterm() -> None:
    """End WebSockets where nobody speaks, before gunicorn waits for them."""
    from vca.servers.relay.draining import PROCESS_DRAIN

    previous_handler = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: Any) -> None:
        PROCESS_DRAIN.start()
        if callable(previous_handler):
            previous_handler(number, frame)

    signal.signal(signal.SIGTERM, drain)
