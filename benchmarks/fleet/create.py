"""A tenant over the API, against the same DDL as one string by the owner."""

import http.client
import json
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median
from time import perf_counter
from uuid import uuid4

from benchmarks.fleet import raw
from benchmarks.fleet.report import Figure
from benchmarks.postgres import ROLE_PREFIX, WEB, WORKER, Postgres
from benchmarks.web import Web
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef

_PAIRS = 40
_WARM_UP = 3
_LIMIT = 1.3
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
class _Way:
    """What each tenant took in one of the ways."""

    elapsed_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def elapsed_ms(self) -> list[float]:
        """Of each tenant, after the first few."""
        return [took_s * 1000 for took_s in self.elapsed_s[_WARM_UP:]]

    def cpu_ms(self) -> float:
        """The mean: the kernel counts in steps of 10 ms."""
        return mean(self.cpu_s[_WARM_UP:]) * 1000


def measure(postgres: Postgres, web: Web, key: str, tenants: int) -> Figure:
    """In turns: the median of the pairs' ratios; at the number of tenants that there are."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    product, by_hand = _Way(), _Way()
    with raw.plainly(), raw.cursor(postgres.dsn) as cursor:
        for number in range(_PAIRS + _WARM_UP):
            ways = [
                (product, partial(_post, connection, key)),
                (by_hand, partial(cursor.execute, _string())),
            ]
            for way, make in ways if number % 2 else ways[::-1]:
                cpu_s, began = web.cpu_s() + postgres.cpu_s(), perf_counter()
                make()
                way.elapsed_s.append(perf_counter() - began)
                way.cpu_s.append(web.cpu_s() + postgres.cpu_s() - cpu_s)
    connection.close()
    ours, beside = product.elapsed_ms(), by_hand.elapsed_ms()
    ratios = [one / other for one, other in zip(ours, beside, strict=True)]
    return Figure(
        "create a tenant: POST /api/tenants beside one string of DDL",
        tenants,
        f"{median(ours):.1f} ms, {product.cpu_ms():.1f} ms CPU",
        f"{median(beside):.1f} ms, {by_hand.cpu_ms():.1f} ms CPU",
        median(ratios),
        _LIMIT,
    )


def _post(connection: http.client.HTTPConnection, key: str) -> None:
    body = json.dumps({"name": "Over the API"})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/api/tenants", body, headers)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 201:
        raise RuntimeError(f"POST /api/tenants: {answer.status} {said!r:.500}")


def _string() -> str:
    tenant = TenantRef(uuid4())
    role = f"{ROLE_PREFIX}{tenant.schema}"
    return _DDL.format(
        tenant=tenant.id,
        revision=schema.head(),
        role=role,
        schema=tenant.schema,
        web=WEB,
        worker=WORKER,
        script=schema.filled_in(schema.compile_script(), tenant, grantees=f'"{role}"'),
    )
