-- grants: tenant
--
-- Enqueue a job into `default`. The previous release calls it.
CREATE OR REPLACE FUNCTION jobs.enqueue(
    p_task text, p_args jsonb, p_run_at timestamptz DEFAULT NULL, p_lock text DEFAULT NULL
)
RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT jobs.enqueue('default', p_task, p_args, p_run_at, p_lock);
$$;
