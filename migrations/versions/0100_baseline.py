"""Create the public schema, the job queue, and the first version of each plan.

The tables of the queue come from procrastinate's own `schema.sql`. Its migrations cannot be
replayed: one of them adds a value to an enum type and a later one uses it, which servers before
PostgreSQL 17 reject within one transaction. A release of procrastinate with newer migrations needs
a revision here that runs them on existing databases. Until there is one, this revision refuses to
run.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import op

revision = "0100"
down_revision = None

# The newest migration of procrastinate that the installed `schema.sql` must contain.
NEWEST_MIGRATION = "03.04.00_50"

PIN_SEARCH_PATHS = """
DO $$
DECLARE f regprocedure;
BEGIN
    -- Unpinned, a table of the same name in a tenant's schema would capture the job.
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
             JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = 'jobs' AND p.prokind = 'f'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = jobs, pg_temp', f);
    END LOOP;
END $$;
"""

# Prices are millionths of a cent for a number of units: 12 cents per minute of a call, and so on.
STARTER: dict[str, Any] = {
    "currency": "USD",
    "limits": {"concurrent_calls": 2},
    "included": {"call_seconds": 6_000},
    "prices": {
        "call_seconds": {"price": 12_000_000, "per": 60},
        "model_input_tokens": {"price": 100_000_000, "per": 1_000_000},
        "model_output_tokens": {"price": 400_000_000, "per": 1_000_000},
        "speech_characters": {"price": 2_000_000_000, "per": 1_000_000},
        "recording_byte_days": {"price": 3_000_000, "per": 30_000_000_000},
        "number_days": {"price": 5_000_000, "per": 1},
    },
}
GROWTH: dict[str, Any] = {
    "currency": "USD",
    "limits": {"concurrent_calls": 20},
    "included": {"call_seconds": 60_000},
    "prices": {
        **STARTER["prices"],
        "call_seconds": {"price": 9_000_000, "per": 60},
        "speech_characters": {"price": 1_500_000_000, "per": 1_000_000},
        "number_days": {"price": 4_000_000, "per": 1},
    },
}
PLANS = {"starter": STARTER, "growth": GROWTH, "custom": {**GROWTH, "included": {}}}
INSERT_PLAN = """
INSERT INTO public.plans (plan, version, valid_from, document)
VALUES (%s, 1, '2026-01-01 00:00:00+00', %s)
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA jobs; SET LOCAL search_path TO jobs")
    op.get_bind().exec_driver_sql(_queue_schema().replace("%", "%%"))
    op.execute("SET LOCAL search_path TO DEFAULT")
    op.execute(PIN_SEARCH_PATHS)
    op.execute((Path(__file__).parents[1] / "baseline.sql").read_text())
    for plan, document in PLANS.items():
        op.get_bind().exec_driver_sql(INSERT_PLAN, (plan, json.dumps(document)))


def _queue_schema() -> str:
    """Return procrastinate's schema; raise RuntimeError for a release with other migrations."""
    scripts = files("procrastinate") / "sql"
    migrations = (entry.name for entry in (scripts / "migrations").iterdir())
    newest = max(name for name in migrations if name.endswith(".sql"))
    if not newest.startswith(NEWEST_MIGRATION):
        raise RuntimeError(
            f"procrastinate's newest migration is {newest}, not {NEWEST_MIGRATION}: "
            "install the release that requirements.txt pins"
        )
    return (scripts / "schema.sql").read_text()
