-- grants: platform
--
-- Return the jobs of each lane and tenant; null is the platform. Jobs that are due later are
-- waiting, too. Jobs in `default` count for `batch`.
CREATE OR REPLACE FUNCTION jobs.tenant_jobs()
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
