"""Add what a call depends on outside its tenant: its plan, the dialling freeze, and job locks.

A job may have a lock: while it waits, a second job with the same lock is not enqueued, and it can
be withdrawn. Each tenant has its own locks.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
ALTER TABLE public.deployment ADD COLUMN dialling_frozen_at timestamptz;

CREATE TABLE public.idempotency_keys (
    id uuid NOT NULL,
    api_key text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status integer,
    headers jsonb NOT NULL DEFAULT '{}',
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (id),
    CONSTRAINT idempotency_keys_api_key_key_key UNIQUE (api_key, key)
);
CREATE INDEX idempotency_keys_created_at_idx ON public.idempotency_keys (created_at);
"""

OWN_STANDING = """
CREATE FUNCTION public.own_standing(
    OUT plan text, OUT tenant_status text, OUT dialling_frozen boolean
)
RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.plan, t.status,
           EXISTS (SELECT FROM public.deployment d WHERE d.dialling_frozen_at IS NOT NULL)
    FROM public.tenants t WHERE t.id = public.acting_tenant();
$$;
"""

FREEZE_DIALLING = """
CREATE FUNCTION public.freeze_dialling(p_frozen boolean)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.deployment
    SET dialling_frozen_at = CASE WHEN p_frozen THEN coalesce(dialling_frozen_at, now()) END;
$$;
"""

# Returns null if the lock is taken: no second job is enqueued.
ENQUEUE = """
DROP FUNCTION jobs.enqueue(text, jsonb, timestamptz);
CREATE FUNCTION jobs.enqueue(
    p_task text, p_args jsonb, p_run_at timestamptz DEFAULT NULL, p_lock text DEFAULT NULL
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
    IF p_lock IS NULL THEN
        RETURN (procrastinate_defer_jobs_v1(ARRAY[
            ROW('default', p_task, 0, NULL, NULL, p_args, p_run_at)
        ]::procrastinate_job_to_defer_v1[]))[1];
    END IF;
    p_lock := concat(v_tenant, ':', p_lock);
    PERFORM FROM procrastinate_jobs j WHERE j.queueing_lock = p_lock AND j.status = 'todo';
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN (procrastinate_defer_jobs_v1(ARRAY[
        ROW('default', p_task, 0, NULL, p_lock, p_args, p_run_at)
    ]::procrastinate_job_to_defer_v1[]))[1];
EXCEPTION WHEN unique_violation THEN
    RETURN NULL;
END $$;
"""

WITHDRAW = """
CREATE FUNCTION jobs.withdraw(p_lock text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
BEGIN
    DELETE FROM procrastinate_jobs j
    WHERE j.queueing_lock = concat(public.acting_tenant(), ':', p_lock) AND j.status = 'todo';
    RETURN FOUND;
END $$;
"""

# Each live call has one waiting job that watches it, so live calls are found without visiting
# tenants.
TENANTS_AWAITING = """
CREATE FUNCTION jobs.tenants_awaiting(p_task text)
RETURNS TABLE (tenant_id uuid, jobs bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT (j.args->>'tenant_id')::uuid, count(*)
    FROM procrastinate_jobs j
    WHERE j.task_name = p_task AND j.status IN ('todo', 'doing') AND j.args ? 'tenant_id'
    GROUP BY 1;
$$;
"""

OLDEST_DUE = """
CREATE FUNCTION jobs.oldest_due_s()
RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT coalesce(extract(epoch FROM now() - min(coalesce(j.scheduled_at, e.at))), 0)
    FROM procrastinate_jobs j
    LEFT JOIN procrastinate_events e ON e.job_id = j.id AND e.type = 'deferred'
    WHERE j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= now());
$$;
"""


def upgrade() -> None:
    for statement in (
        TABLES,
        OWN_STANDING,
        FREEZE_DIALLING,
        ENQUEUE,
        WITHDRAW,
        TENANTS_AWAITING,
        OLDEST_DUE,
    ):
        op.execute(statement)
