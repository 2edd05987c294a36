"""The service of a run: Postgres, web and relay servers, the worker, a model and the tenants."""

import base64
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import postgres, request_cost, requests, tenant_data, web, worker
from benchmarks.neighbours.busy_clients import MODEL_DELAY_S
from benchmarks.postgres import BenchmarkDatabase
from benchmarks.progress import print_progress
from benchmarks.tenant_data import BenchmarkTenant
from benchmarks.turns import fake_model
from benchmarks.turns.fake_model import AnswerShape
from benchmarks.web import WebServer
from vca.settings import Settings, read_settings

_DIAL_POLICY = {"countries": ["GB"], "per_minute": 1_000, "per_day": 100_000}
_ENVIRON = {
    **{name: value for name, value in request_cost.ENVIRON.items() if "RATE_LIMIT" not in name},
    **requests.TWILIO,
    "TELEPHONY_PROVIDER": "fake",
    "RELAY_SLOTS": "100",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    "WEBHOOK_ALLOW_HTTP": "true",
    "ENCRYPTION_KEYS": base64.b64encode(b"k" * 32).decode(),
    "LLM_API_KEY": "a-key-of-the-benchmark",
    "LLM_MODEL": "fake",
}
_DROP_WAITING_JOBS = """
DELETE FROM jobs.procrastinate_jobs WHERE status = 'todo' AND args->>'tenant_id' = %s
"""
_COUNT_JOBS = """
SELECT count(*) FROM jobs.procrastinate_jobs
WHERE status IN ('todo', 'doing') AND args->>'tenant_id' = %s
    AND (scheduled_at IS NULL OR scheduled_at < now())
"""
_DIAL_DELAYS = """
SELECT extract(epoch FROM dialled_at - created_at)::float FROM "{schema}".calls
WHERE id = ANY(%s::uuid[])
"""
_SETTLE_TIMEOUT_S = 90


@dataclass(frozen=True)
class Service:
    """A running service with one quiet tenant, and a new busy tenant for each round."""

    database: BenchmarkDatabase
    settings: Settings
    web_server: WebServer
    relay_server: WebServer
    quiet_tenant: BenchmarkTenant
    phone_number_id: str
    busy_tenants: list[BenchmarkTenant]

    def end_work_of(self, tenant: BenchmarkTenant) -> None:
        """Remove the waiting jobs of a tenant, and wait until the running ones have ended."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            self.database.execute(_DROP_WAITING_JOBS, (tenant.id,))
            if self.database.execute(_COUNT_JOBS, (tenant.id,)) == [(0,)]:
                return
            time.sleep(0.5)

    def wait_for_dials(self, call_ids: list[str], timeout_s: float) -> list[float | None]:
        """Return the seconds from each order to its dialling; None if it was not dialled."""
        schema = "t_" + self.quiet_tenant.id.replace("-", "")
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.database.execute(_DIAL_DELAYS.format(schema=schema), (call_ids,))
            delays_s: list[float | None] = [delay for (delay,) in rows]  # type: ignore[misc] # float8
            if None not in delays_s or time.monotonic() > deadline:
                return delays_s
            time.sleep(0.1)


def start_service(stack: ExitStack, busy_tenants: int) -> Service:
    """Start all processes; they end with the stack."""
    print_progress("starting Postgres and the model")
    database = stack.enter_context(postgres.serve_database())
    model = stack.enter_context(fake_model.serve_model())
    model.set_shape(AnswerShape(tokens=5, first_token_s=MODEL_DELAY_S))
    environ = {**_ENVIRON, **database.environ(), "LLM_BASE_URL": model.url}
    settings = read_settings(environ)
    print_progress(f"creating {busy_tenants + 1} tenants")
    quiet, *busy = tenant_data.create_tenants(
        settings, database, busy_tenants + 1, dial_policy=_DIAL_POLICY
    )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    print_progress("starting the web servers and the worker")
    web_server = stack.enter_context(web.serve_app("wsgi:app", environ, folder))
    relay_server = stack.enter_context(web.serve_app("wsgi:app", environ, folder, group="relay"))
    stack.enter_context(worker.run_worker(database, environ, folder))
    schema = "t_" + quiet.id.replace("-", "")
    [(phone_number_id,)] = database.execute(
        f'SELECT id::text FROM "{schema}".phone_numbers WHERE did_number = %s', (quiet.number,)
    )
    return Service(database, settings, web_server, relay_server, quiet, str(phone_number_id), busy)
