"""Export a tenant with 100,000 calls to a file and import it under a new id."""

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

from benchmarks.fleet.report import FleetFigure
from benchmarks.postgres import ROOT, BenchmarkDatabase
from vca.kit import json
from vca.tenancy import schema

CALLS = 100_000
_MIN_ROWS_PER_S = 50_000
_MAX_MIB = 100
_IDLE_RUNS = 3
_COMMAND = (sys.executable, "-m", "flask", "--app", "wsgi", "tenants")
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
class _CommandRun:
    """A finished command: its duration in seconds, its peak memory and its output."""

    duration_s: float
    peak_mib: float
    stdout: bytes


def measure_archive(
    postgres: BenchmarkDatabase, environ: Mapping[str, str], tenants: int
) -> list[FleetFigure]:
    """Measure rows per second and peak memory of export and import.

    The time excludes the command's start; the memory is the increase over an idle command.
    """
    tenant_id, rows = _create_tenant(postgres)
    idle_run = min(
        (_run_command(environ, "show", str(tenant_id)) for _ in range(_IDLE_RUNS)), key=_duration_s
    )
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "tenant.zip")
        export_run = _run_command(environ, "export", str(tenant_id), file, "--json")
        import_run = _run_command(environ, "import", file, "--json")
    imported = UUID(json.loads(import_run.stdout)["tenant_id"])
    if imported == tenant_id or _count_rows(postgres, imported) != rows:
        raise RuntimeError("the imported tenant differs from the exported one")
    runs = (("export", export_run), ("import", import_run))
    return [
        figure
        for direction, command_run in runs
        for figure in (
            _speed_figure(direction, command_run, idle_run, rows, tenants),
            _memory_figure(direction, command_run, idle_run, rows, tenants),
        )
    ]


def _speed_figure(
    direction: str, command_run: _CommandRun, idle_run: _CommandRun, rows: int, tenants: int
) -> FleetFigure:
    per_s = rows / (command_run.duration_s - idle_run.duration_s)
    return FleetFigure(
        f"{direction} of a tenant with {CALLS:,} calls, {rows:,} rows",
        tenants,
        f"{command_run.duration_s:.1f} s",
        f"{idle_run.duration_s:.1f} s to start",
        per_s,
        _MIN_ROWS_PER_S,
        unit="rows/s",
        at_least=True,
    )


def _memory_figure(
    direction: str, command_run: _CommandRun, idle_run: _CommandRun, rows: int, tenants: int
) -> FleetFigure:
    return FleetFigure(
        f"{direction} of a tenant with {CALLS:,} calls: peak memory over an idle command's",
        tenants,
        f"{command_run.peak_mib:.0f} MiB",
        f"{idle_run.peak_mib:.0f} MiB idle",
        command_run.peak_mib - idle_run.peak_mib,
        _MAX_MIB,
        unit="MiB",
    )


def _create_tenant(postgres: BenchmarkDatabase) -> tuple[UUID, int]:
    tenant_id = uuid4()
    postgres.execute(
        "SELECT public.create_tenant(%s, 'Archived', 'growth', NULL)", (str(tenant_id),)
    )
    schema_name = schema.schema_name(tenant_id)
    postgres.execute(_FILL.format(schema=schema_name, tenant=tenant_id, calls=CALLS))
    postgres.execute(
        f'VACUUM (ANALYZE) "{schema_name}".calls, "{schema_name}".call_events,'
        f' "{schema_name}".turns'
    )
    return tenant_id, _count_rows(postgres, tenant_id)


def _count_rows(postgres: BenchmarkDatabase, tenant_id: UUID) -> int:
    schema_name = schema.schema_name(tenant_id)
    counts = (
        f'SELECT count(*) FROM "{schema_name}".{table}'
        for table in ("calls", "call_events", "turns")
    )
    return sum(int(str(postgres.execute(count)[0][0])) for count in counts)


def _run_command(environ: Mapping[str, str], *arguments: str) -> _CommandRun:
    started_at = perf_counter()
    with tempfile.TemporaryFile() as stdout:
        process = subprocess.Popen(
            [*_COMMAND, *arguments], cwd=ROOT, env={**os.environ, **environ}, stdout=stdout
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        duration_s = perf_counter() - started_at
        stdout.seek(0)
        if process.returncode:
            raise click.ClickException(
                f"tenants {' '.join(arguments)} failed: {stdout.read()!r:.500}"
            )
        return _CommandRun(duration_s, usage.ru_maxrss / 1024, stdout.read())


def _duration_s(command_run: _CommandRun) -> float:
    return command_run.duration_s
