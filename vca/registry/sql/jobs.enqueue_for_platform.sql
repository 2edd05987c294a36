-- grants: none
--
-- Enqueue a job of the platform from a tenant's transaction. Only other functions may call it.
CREATE OR REPLACE FUNCTION jobs.enqueue_for_platform(p_task text, p_args jsonb)
RETURNS bigint
LANGUAGE sql
SET search_path = jobs, pg_temp
AS $$
    SELECT (procrastinate_defer_jobs_v1(ARRAY[
        ROW('deliveries', p_task, 0, NULL, NULL, p_args, NULL)
    ]::procrastinate_job_to_defer_v1[]))[1];
$$;
