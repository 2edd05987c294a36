"""Create the job queue: procrastinate's tables in their own schema, and a function that enqueues.

The tables come from the package's own `schema.sql`. Its migrations cannot be replayed: one of them
adds a value to an enum type and a later one uses it, which servers before PostgreSQL 17 reject
within one transaction. A release of procrastinate with newer migrations needs a revision here that
runs them on existing databases. Until there is one, this revision refuses to run.
"""

from importlib.resources import files

from alembic import op

revision = "0002"
down_revision = "0001"

# The newest migration of procrastinate that the installed `schema.sql` must contain.
NEWEST_MIGRATION = "03.04.00_50"

PIN = """
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

# The worker polls: a NOTIFY on every insert serialises commits.
SILENCE = """
ALTER TABLE jobs.procrastinate_jobs
    DISABLE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1;
"""

# The tenant comes from the transaction, never from an argument.
ENQUEUE = """
CREATE FUNCTION jobs.enqueue(p_task text, p_args jsonb, p_run_at timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = jobs, pg_temp
AS $$
DECLARE
    v_tenant text := nullif(current_setting('vca.tenant_id', true), '');
BEGIN
    IF v_tenant IS NOT NULL THEN
        p_args := p_args || jsonb_build_object('tenant_id', v_tenant);
    END IF;
    RETURN (procrastinate_defer_jobs_v1(ARRAY[
        ROW('default', p_task, 0, NULL, NULL, p_args, p_run_at)
    ]::procrastinate_job_to_defer_v1[]))[1];
END $$;
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA jobs")
    op.execute("SET LOCAL search_path TO jobs")
    op.get_bind().exec_driver_sql(_queue_schema().replace("%", "%%"))
    op.execute("SET LOCAL search_path TO DEFAULT")
    op.execute(PIN)
    op.execute(SILENCE)
    op.execute(ENQUEUE)


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
