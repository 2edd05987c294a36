"""Create a tenant over the API, compared with the same DDL as one string by the owner."""

import http.client
import json
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median
from time import perf_counter
from uuid import uuid4

from benchmarks.fleet import raw_psycopg2
from benchmarks.fleet.report import FleetFigure
from benchmarks.postgres import ROLE_PREFIX, WEB_LOGIN, WORKER_LOGIN, BenchmarkDatabase
from benchmarks.web import WebServer
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef

_PAIRS = 40
_WARM_UP_PAIRS = 3
_MAX_RATIO = 1.3
_DDL = """
BEGIN;
INSERT INTO public.tenants (id, name, plan, status, schema_revision)
VALUES ('{tenant}', 'Raw', 'starter', 'active', '{revision}');
CREATE ROLE "{role}" ROLE {web}, {worker};
CREATE SCHEMA "{schema}";
GRANT USAGE ON SCHEMA "{schema}" TO "{role}";
SET LOCAL search_path TO "{schema}";
{script};
COMMIT
"""


@dataclass
class _Timings:
    """The times of each tenant with one of the two methods."""

    elapsed_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def elapsed_ms(self) -> list[float]:
        """Return the milliseconds of each tenant, without the warm-up."""
        return [seconds * 1000 for seconds in self.elapsed_s[_WARM_UP_PAIRS:]]

    def cpu_ms(self) -> float:
        """Return the mean CPU milliseconds: the kernel counts in steps of 10 ms."""
        return mean(self.cpu_s[_WARM_UP_PAIRS:]) * 1000


def measure_creation(
    postgres: BenchmarkDatabase, web: WebServer, key: str, tenants: int
) -> FleetFigure:
    """Alternate between both methods; the result is the median of the pairs' ratios.

    `tenants` is the number of tenants on the server.
    """
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    product, by_hand = _Timings(), _Timings()
    with (
        raw_psycopg2.without_wait_callback(),
        raw_psycopg2.autocommit_cursor(postgres.dsn) as cursor,
    ):
        for number in range(_PAIRS + _WARM_UP_PAIRS):
            ways = [
                (product, partial(_post_tenant, connection, key)),
                (by_hand, partial(cursor.execute, _creation_script())),
            ]
            for timings, create_tenant in ways if number % 2 else ways[::-1]:
                cpu_s, started_at = web.cpu_s() + postgres.cpu_s(), perf_counter()
                create_tenant()
                timings.elapsed_s.append(perf_counter() - started_at)
                timings.cpu_s.append(web.cpu_s() + postgres.cpu_s() - cpu_s)
    connection.close()
    product_ms, by_hand_ms = product.elapsed_ms(), by_hand.elapsed_ms()
    ratios = [
        product_one_ms / by_hand_one_ms
        for product_one_ms, by_hand_one_ms in zip(product_ms, by_hand_ms, strict=True)
    ]
    return FleetFigure(
        "create a tenant: POST /api/tenants, compared with one string of DDL",
        tenants,
        f"{median(product_ms):.1f} ms, {product.cpu_ms():.1f} ms CPU",
        f"{median(by_hand_ms):.1f} ms, {by_hand.cpu_ms():.1f} ms CPU",
        median(ratios),
        _MAX_RATIO,
    )


def _post_tenant(connection: http.client.HTTPConnection, key: str) -> None:
    body = json.dumps({"name": "Over the API"})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/api/tenants", body, headers)
    response = connection.getresponse()
    response_body = response.read()
    if response.status != 201:
        raise RuntimeError(f"POST /api/tenants: {response.status} {response_body!r:.500}")


def _creation_script() -> str:
    tenant = TenantRef(uuid4())
    role = f"{ROLE_PREFIX}{tenant.schema}"
    return _DDL.format(
        tenant=tenant.id,
        revision=schema.head(),
        role=role,
        schema=tenant.schema,
        web=WEB_LOGIN,
        worker=WORKER_LOGIN,
        script=schema.render_for_tenant(
            schema.compile_script(for_citus=False), tenant, grantees=f'"{role}"'
        ),
    )
