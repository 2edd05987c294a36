"""A tenant of 100,000 calls, out to a file and in again under a new id."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from uuid import UUID, uuid4

import click

from benchmarks.fleet.report import Figure
from benchmarks.postgres import ROOT, Postgres
from vca.kit import json
from vca.tenancy import schema

CALLS = 100_000
_LEAST_ROWS_PER_S = 50_000
_MOST_MIB = 100
_STARTS = 3
_FLASK = (sys.executable, "-m", "flask", "--app", "wsgi", "tenants")
_FILL = """
INSERT INTO "{schema}".calls (id, tenant_id, direction, status, end_reason, caller_number,
    caller_id, called_number, provider_type, provider_call_id, simulated, started_at, answered_at,
    ended_at, route, call_metadata, latency)
SELECT md5('{tenant}' || n)::uuid, '{tenant}', 'inbound', 'completed', 'caller_hangup',
    '+1415555' || lpad((n % 10000)::text, 4, '0'), 'shown', '+442070000000', 'fake', 'call-' || n,
    false, now() - n * interval '1 minute', now() - n * interval '1 minute',
    now() - n * interval '1 minute' + interval '95 seconds',
    '{{"decision": "agent", "rules": [{{"rule": "default", "verdict": "decided", "why": "x"}}]}}',
    '{{}}', '{{"model": {{"p50": 420, "p95": 700}}}}'
FROM generate_series(1, {calls}) n;
INSERT INTO "{schema}".call_events (id, tenant_id, call_id, event_type, event_key, timestamp,
    position, details)
SELECT gen_random_uuid(), '{tenant}', c.id, e.type, e.type, c.started_at, e.position, '{{}}'
FROM "{schema}".calls c, (VALUES ('RINGING', 1), ('ENDED', 5)) AS e (type, position);
INSERT INTO "{schema}".turns (call_id, sequence, tenant_id, speaker, text, started_at, latency_ms)
SELECT c.id, t.sequence, '{tenant}', t.speaker, t.text, c.started_at, '{{"model": 420}}'
FROM "{schema}".calls c, (VALUES
    (1, 'agent', 'Acme Dental, good morning! What can I do for you?'),
    (2, 'caller', 'I would like to come in for a check, on Tuesday if that is possible.')
) AS t (sequence, speaker, text)
"""


@dataclass(frozen=True)
class _Ran:
    """A command that was run to its end: seconds, its peak of memory, what it printed."""

    took_s: float
    peak_mib: float
    said: bytes


def measure(postgres: Postgres, environ: Mapping[str, str], tenants: int) -> list[Figure]:
    """Rows per second without the command's start, and the peak of memory over an idle one's."""
    tenant, rows = _make(postgres)
    idle = min((_run(environ, "show", str(tenant)) for _ in range(_STARTS)), key=_took)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "tenant.zip")
        out = _run(environ, "export", str(tenant), file, "--json")
        back = _run(environ, "import", file, "--json")
    imported = UUID(json.loads(back.said)["tenant_id"])
    if imported == tenant or _rows(postgres, imported) != rows:
        raise RuntimeError("what came in is not what went out")
    ways = (("export", out), ("import", back))
    return [
        figure
        for way, ran in ways
        for figure in (
            _speed(way, ran, idle, rows, tenants),
            _memory(way, ran, idle, rows, tenants),
        )
    ]


def _speed(way: str, ran: _Ran, idle: _Ran, rows: int, tenants: int) -> Figure:
    per_s = rows / (ran.took_s - idle.took_s)
    return Figure(
        f"{way} of a tenant with {CALLS:,} calls, {rows:,} rows",
        tenants,
        f"{ran.took_s:.1f} s",
        f"{idle.took_s:.1f} s to start",
        per_s,
        _LEAST_ROWS_PER_S,
        unit="rows/s",
        at_least=True,
    )


def _memory(way: str, ran: _Ran, idle: _Ran, rows: int, tenants: int) -> Figure:
    return Figure(
        f"{way} of a tenant with {CALLS:,} calls: peak memory over an idle command's",
        tenants,
        f"{ran.peak_mib:.0f} MiB",
        f"{idle.peak_mib:.0f} MiB idle",
        ran.peak_mib - idle.peak_mib,
        _MOST_MIB,
        unit="MiB",
    )


def _make(postgres: Postgres) -> tuple[UUID, int]:
    tenant = uuid4()
    postgres.run("SELECT public.create_tenant(%s, 'Archived', 'growth', NULL)", (str(tenant),))
    name = schema.name(tenant)
    postgres.run(_FILL.format(schema=name, tenant=tenant, calls=CALLS))
    postgres.run(f'VACUUM (ANALYZE) "{name}".calls, "{name}".call_events, "{name}".turns')
    return tenant, _rows(postgres, tenant)


def _rows(postgres: Postgres, tenant: UUID) -> int:
    name = schema.name(tenant)
    counts = (
        f'SELECT count(*) FROM "{name}".{table}' for table in ("calls", "call_events", "turns")
    )
    return sum(int(str(postgres.run(count)[0][0])) for count in counts)


def _run(environ: Mapping[str, str], *words: str) -> _Ran:
    began = perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*_FLASK, *words], cwd=ROOT, env={**os.environ, **environ}, stdout=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took_s = perf_counter() - began
        said.seek(0)
        if process.returncode:
            raise click.ClickException(f"tenants {' '.join(words)} failed: {said.read()!r:.500}")
        return _Ran(took_s, usage.ru_maxrss / 1024, said.read())


def _took(ran: _Ran) -> float:
    return ran.took_s
