-- grants: platform
--
-- Return the tenants with unfinished jobs of a task. Each live call has one waiting job that
-- watches it, so live calls are found without visiting tenants.
CREATE OR REPLACE FUNCTION jobs.tenants_awaiting(p_task text)
RETURNS TABLE (tenant_id uuid, jobs bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT (j.args->>'tenant_id')::uuid, count(*)
    FROM procrastinate_jobs j
    WHERE j.task_name = p_task AND j.status IN ('todo', 'doing') AND j.args ? 'tenant_id'
    GROUP BY 1;
$$;
