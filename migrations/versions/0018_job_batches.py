"""Let a worker finish jobs and take others in one statement, and record no events of jobs.

A job took two statements, each a transaction, and wrote three rows of procrastinate's event log,
which nothing reads. `due_at` says since when a job is due, and heartbeats say which worker is dead.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

# Statistics are often old for a queue. With these settings the jobs are found by their ids.
ONE_PLAN = """
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
"""

# Deletes jobs that ended well, whatever became of them meanwhile, and takes up to p_limit jobs as
# `jobs.take` does, one after the other. Repeating it finishes nothing twice.
FINISH_AND_TAKE = f"""
CREATE FUNCTION jobs.finish_and_take(
    p_lane text, p_worker bigint, p_cap integer, p_finished bigint[], p_limit integer
)
RETURNS SETOF jobs.procrastinate_jobs
LANGUAGE plpgsql
SET search_path = jobs, pg_temp {ONE_PLAN}
AS $$
DECLARE
    v_job procrastinate_jobs;
BEGIN
    DELETE FROM procrastinate_jobs j
    WHERE j.id = ANY (p_finished) AND j.status IN ('todo', 'doing');
    FOR i IN 1..p_limit LOOP
        v_job := take(p_lane, p_worker, p_cap);
        EXIT WHEN v_job.id IS NULL;
        RETURN NEXT v_job;
    END LOOP;
END $$;
"""

NO_EVENTS = """
ALTER TABLE jobs.procrastinate_jobs
    DISABLE TRIGGER procrastinate_trigger_status_events_insert_v1,
    DISABLE TRIGGER procrastinate_trigger_status_events_update_v1,
    DISABLE TRIGGER procrastinate_trigger_scheduled_events_v1,
    DISABLE TRIGGER procrastinate_trigger_abort_requested_events_v1;
DELETE FROM jobs.procrastinate_events;
"""


def upgrade() -> None:
    op.execute(FINISH_AND_TAKE)
    op.execute(NO_EVENTS)
