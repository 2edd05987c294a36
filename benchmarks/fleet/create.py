"""A tenant over the API, against the same DDL as one string by the owner."""

import http.client
import json
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from uuid import uuid4

from benchmarks.fleet import raw
from benchmarks.fleet.report import Figure
from benchmarks.postgres import ROLE_PREFIX, WEB, WORKER, Postgres
from benchmarks.web import Web
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef

_PAIRS = 25
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


def measure(postgres: Postgres, web: Web, key: str, tenants: int) -> Figure:
    """In turns, the medians of both; at the number of tenants that there are."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    product: list[float] = []
    by_hand: list[float] = []
    with raw.plainly(), raw.cursor(postgres.dsn) as cursor:
        for number in range(_PAIRS + _WARM_UP):
            make_by_hand = partial(cursor.execute, _string())
            ways: list[tuple[list[float], Callable[[], None]]] = [
                (product, partial(_post, connection, key)),
                (by_hand, make_by_hand),
            ]
            for times, make in ways if number % 2 else ways[::-1]:
                began = perf_counter()
                make()
                times.append(perf_counter() - began)
    connection.close()
    ours, beside = (median(times[_WARM_UP:]) * 1000 for times in (product, by_hand))
    return Figure(
        "create a tenant: POST /api/tenants beside one string of DDL",
        tenants,
        f"{ours:.1f} ms",
        f"{beside:.1f} ms",
        ours / beside,
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
