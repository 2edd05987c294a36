"""Add job lanes: queues with slots of their own, from which jobs are taken in turns by tenant.

Processes of the previous release still enqueue into `default`, and their workers take jobs from
every queue. `jobs.adopt` moves due jobs from `default` into a lane.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

# `due_at` is valid once a job is ready, which means that it waits and `scheduled_at` is null. The
# default fills existing rows without rewriting the table.
TABLES = """
ALTER TABLE jobs.procrastinate_jobs ADD COLUMN due_at timestamptz DEFAULT now();

CREATE TABLE jobs.lanes (
    name text NOT NULL,
    last_tenant text COLLATE "C" NOT NULL,
    CONSTRAINT lanes_pkey PRIMARY KEY (name)
);
"""

# The ready jobs of a lane by tenant, those that become ready later by time, and running jobs. Only
# ready jobs are ordered by tenant: every tenant has jobs that are due in a day or a month.
INDEXES = """
CREATE INDEX procrastinate_jobs_ready_idx ON jobs.procrastinate_jobs (
    queue_name, (coalesce(args->>'tenant_id', 'platform') COLLATE "C"), priority DESC, id
) WHERE status = 'todo' AND scheduled_at IS NULL;
CREATE INDEX procrastinate_jobs_scheduled_idx ON jobs.procrastinate_jobs (queue_name, scheduled_at)
    WHERE status = 'todo' AND scheduled_at IS NOT NULL;
CREATE INDEX procrastinate_jobs_running_idx ON jobs.procrastinate_jobs (
    queue_name, (coalesce(args->>'tenant_id', 'platform') COLLATE "C")
) WHERE status = 'doing';
"""

# The same function as before, with the lane. It returns null if the lock is taken: no second job is
# enqueued.
ENQUEUE = """
CREATE FUNCTION jobs.enqueue(
    p_lane text, p_task text, p_args jsonb, p_run_at timestamptz, p_lock text
)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
DECLARE
    v_tenant uuid;
BEGIN
    IF coalesce(current_setting('vca.tenant_id', true), '') <> ''
            OR current_setting('role') NOT IN ('none', session_user) THEN
        v_tenant := public.acting_tenant();
        p_args := p_args || jsonb_build_object('tenant_id', v_tenant);
    END IF;
    IF p_lock IS NOT NULL THEN
        p_lock := concat(v_tenant, ':', p_lock);
        PERFORM FROM procrastinate_jobs j WHERE j.queueing_lock = p_lock AND j.status = 'todo';
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN (procrastinate_defer_jobs_v1(ARRAY[
        ROW(p_lane, p_task, 0, NULL, p_lock, p_args, p_run_at)
    ]::procrastinate_job_to_defer_v1[]))[1];
EXCEPTION WHEN unique_violation THEN
    RETURN NULL;
END $$;
"""

# Functions that the previous release calls. They do what they did.
ENQUEUE_WITHOUT_LANE = """
CREATE OR REPLACE FUNCTION jobs.enqueue(
    p_task text, p_args jsonb, p_run_at timestamptz DEFAULT NULL, p_lock text DEFAULT NULL
)
RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT jobs.enqueue('default', p_task, p_args, p_run_at, p_lock);
$$;
"""
ENQUEUE_FOR_PLATFORM = """
CREATE OR REPLACE FUNCTION jobs.enqueue_for_platform(p_task text, p_args jsonb)
RETURNS bigint
LANGUAGE sql
SET search_path = jobs, pg_temp
AS $$
    SELECT (procrastinate_defer_jobs_v1(ARRAY[
        ROW('deliveries', p_task, 0, NULL, NULL, p_args, NULL)
    ]::procrastinate_job_to_defer_v1[]))[1];
$$;
"""

# Statistics are often old for a queue, and a plan that reads or sorts all jobs of a lane would take
# seconds. With these settings each query has one plan: it reads its index in the order that it
# needs.
ONE_PLAN = """
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
SET enable_incremental_sort = off
SET enable_hashagg = off
SET plan_cache_mode = force_generic_plan
"""

# Moves due jobs of earlier releases into the lane of their task; an unknown task's into `batch`.
# Returns their number.
ADOPT = f"""
CREATE FUNCTION jobs.adopt(p_lanes jsonb, p_limit integer)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = jobs, pg_temp {ONE_PLAN}
AS $$
DECLARE
    v_adopted bigint;
BEGIN
    UPDATE procrastinate_jobs
    SET queue_name = coalesce(p_lanes->>task_name, 'batch'), scheduled_at = NULL,
        due_at = coalesce(scheduled_at, due_at)
    WHERE id = ANY (ARRAY(
        SELECT j.id FROM procrastinate_jobs j
        WHERE j.queue_name = 'default' AND j.status = 'todo' AND j.scheduled_at IS NULL
        ORDER BY coalesce(j.args->>'tenant_id', 'platform') COLLATE "C"
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) || ARRAY(
        SELECT j.id FROM procrastinate_jobs j
        WHERE j.queue_name = 'default' AND j.status = 'todo' AND j.scheduled_at <= now()
        ORDER BY j.scheduled_at
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_adopted = ROW_COUNT;
    RETURN v_adopted;
END $$;
"""

# Takes the next job of a lane. Tenants take turns, in the order of their ids; one with p_cap
# running jobs in the lane has no turn. Jobs of the platform count as those of one tenant. The jobs
# of a dead worker do not count once another worker has deleted it: the job that rescues them needs
# a slot itself.
#
# The lock makes the cap exact: a later statement sees what the holder before has taken. Jobs become
# ready in batches, so that a take never reads the jobs that are due later.
TAKE = f"""
CREATE FUNCTION jobs.take(p_lane text, p_worker bigint, p_cap integer)
RETURNS jobs.procrastinate_jobs
LANGUAGE plpgsql
SET search_path = jobs, pg_temp {ONE_PLAN}
AS $$
DECLARE
    v_job procrastinate_jobs;
    v_full text[];
    v_last text;
    v_after text;
    v_before text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('vca.lanes'), hashtext(p_lane));
    IF p_lane = 'batch' THEN
        PERFORM adopt(jsonb_build_object(), 50);
    END IF;
    UPDATE procrastinate_jobs SET due_at = scheduled_at, scheduled_at = NULL
    WHERE id = ANY (ARRAY(
        SELECT j.id FROM procrastinate_jobs j
        WHERE j.queue_name = p_lane AND j.status = 'todo' AND j.scheduled_at <= now()
        ORDER BY j.scheduled_at LIMIT 50 FOR UPDATE SKIP LOCKED
    ));
    v_full := ARRAY(
        SELECT coalesce(j.args->>'tenant_id', 'platform') COLLATE "C" FROM procrastinate_jobs j
        WHERE j.queue_name = p_lane AND j.status = 'doing' AND j.worker_id IS NOT NULL
        GROUP BY 1 HAVING count(*) >= p_cap
    );
    v_last := coalesce((SELECT l.last_tenant FROM lanes l WHERE l.name = p_lane), '');
    <<search>>
    FOREACH v_after IN ARRAY ARRAY[v_last, ''] LOOP
        LOOP
            -- Up to the next tenant without a turn; '~' is greater than every tenant.
            v_before := coalesce(
                (SELECT min(f COLLATE "C") FROM unnest(v_full) f WHERE f COLLATE "C" > v_after),
                '~'
            );
            SELECT j.* INTO v_job FROM procrastinate_jobs j
            WHERE j.queue_name = p_lane AND j.status = 'todo' AND j.scheduled_at IS NULL
              AND coalesce(j.args->>'tenant_id', 'platform') COLLATE "C" > v_after
              AND coalesce(j.args->>'tenant_id', 'platform') COLLATE "C" < v_before
              AND (j.lock IS NULL OR NOT EXISTS (
                  SELECT FROM procrastinate_jobs o
                  WHERE o.lock = j.lock AND (o.status = 'doing' OR (
                      o.status = 'todo' AND (o.priority, -o.id) > (j.priority, -j.id)))))
            ORDER BY coalesce(j.args->>'tenant_id', 'platform') COLLATE "C", j.priority DESC, j.id
            LIMIT 1
            FOR UPDATE OF j SKIP LOCKED;
            EXIT search WHEN FOUND;
            EXIT WHEN v_before = '~';
            v_after := v_before;
        END LOOP;
    END LOOP;
    IF v_job.id IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO lanes AS l (name, last_tenant)
    VALUES (p_lane, coalesce(v_job.args->>'tenant_id', 'platform'))
    ON CONFLICT (name) DO UPDATE SET last_tenant = excluded.last_tenant;
    UPDATE procrastinate_jobs j SET status = 'doing', worker_id = p_worker
    WHERE j.id = v_job.id RETURNING j.* INTO v_job;
    RETURN v_job;
END $$;
"""

# The jobs of each lane and tenant; null is the platform. Jobs that are due later are waiting, too.
# Jobs in `default` count for `batch`.
TENANT_JOBS = """
CREATE FUNCTION jobs.tenant_jobs()
RETURNS TABLE (
    lane text, tenant_id text, waiting bigint, due bigint, running bigint,
    oldest_due_s double precision
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT CASE j.queue_name WHEN 'default' THEN 'batch' ELSE j.queue_name END,
           j.args->>'tenant_id',
           count(*) FILTER (WHERE j.status = 'todo'),
           count(*) FILTER (WHERE j.status = 'todo' AND d.at <= now()),
           count(*) FILTER (WHERE j.status = 'doing'),
           extract(epoch FROM now() - min(d.at) FILTER (
               WHERE j.status = 'todo' AND d.at <= now()))
    FROM procrastinate_jobs j,
         LATERAL (SELECT coalesce(j.scheduled_at, j.due_at) AS at) d
    WHERE j.status IN ('todo', 'doing')
    GROUP BY 1, 2;
$$;
"""

# Of the tenants that have no running job in a lane: others may wait because of their cap.
OLDEST_DUE = """
CREATE OR REPLACE FUNCTION jobs.oldest_due_s()
RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT coalesce(max(t.oldest_due_s) FILTER (WHERE t.running = 0), 0) FROM tenant_jobs() t;
$$;
"""


def upgrade() -> None:
    for statement in (
        TABLES,
        INDEXES,
        ENQUEUE,
        ENQUEUE_WITHOUT_LANE,
        ENQUEUE_FOR_PLATFORM,
        ADOPT,
        TAKE,
        TENANT_JOBS,
        OLDEST_DUE,
    ):
        op.execute(statement)
