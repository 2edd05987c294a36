"""Add what erasing a caller needs outside the tenant's schema: its jobs, and platform deliveries.

Each function checks the transaction's tenant, and changes only that tenant's rows.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

# Deletes the tenant's finished jobs that contain a match; returns their number.
FORGET_FINISHED = """
CREATE FUNCTION jobs.forget_finished(p_pattern text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
DECLARE
    v_forgotten bigint;
BEGIN
    DELETE FROM procrastinate_jobs j
    WHERE j.args->>'tenant_id' = public.acting_tenant()::text
      AND j.status NOT IN ('todo', 'doing') AND j.args::text ~ p_pattern;
    GET DIAGNOSTICS v_forgotten = ROW_COUNT;
    RETURN v_forgotten;
END $$;
"""

NAMING = """
CREATE FUNCTION jobs.naming(p_pattern text)
RETURNS TABLE (id bigint, args jsonb, doing boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT j.id, j.args, j.status = 'doing'
    FROM procrastinate_jobs j
    WHERE j.args->>'tenant_id' = public.acting_tenant()::text
      AND j.status IN ('todo', 'doing') AND j.args::text ~ p_pattern;
$$;
"""

# Returns whether the job was still waiting; the tenant in its arguments stays the same.
REWORD = """
CREATE FUNCTION jobs.reword(p_id bigint, p_args jsonb)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
BEGIN
    UPDATE procrastinate_jobs j
    SET args = p_args || jsonb_build_object('tenant_id', public.acting_tenant())
    WHERE j.id = p_id AND j.args->>'tenant_id' = public.acting_tenant()::text
      AND j.status = 'todo';
    RETURN FOUND;
END $$;
"""

# Reduces pending platform deliveries to ids, and deletes finished ones; returns the number of both.
FORGET_TOLD = """
CREATE FUNCTION public.forget_told(p_events uuid[])
RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH told AS (
        SELECT d.id, d.status FROM public.webhook_deliveries d
        WHERE d.webhook_id IN (SELECT w.id FROM public.webhooks w)
          AND d.event_id = ANY (p_events)
          AND d.payload #>> '{data,tenant_id}' = public.acting_tenant()::text
    ), over AS (
        DELETE FROM public.webhook_deliveries d USING told t
        WHERE d.id = t.id AND t.status <> 'pending'
    ), waiting AS (
        UPDATE public.webhook_deliveries d
        SET attempts = '[]', payload = jsonb_set(d.payload, '{data}', (
            SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}')
            FROM jsonb_each(d.payload->'data') e
            WHERE e.key IN ('tenant_id', 'simulated', 'call_id', 'message_id', 'recording_id')
        ))
        FROM told t WHERE d.id = t.id AND t.status = 'pending'
    )
    SELECT count(*) FROM told;
$$;
"""


def upgrade() -> None:
    for statement in (FORGET_FINISHED, NAMING, REWORD, FORGET_TOLD):
        op.execute(statement)
