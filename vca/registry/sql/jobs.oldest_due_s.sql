-- grants: platform
--
-- Return the age of the oldest due job among the tenants that have no running job in its lane:
-- others may wait because of their cap.
CREATE OR REPLACE FUNCTION jobs.oldest_due_s()
RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT coalesce(max(t.oldest_due_s) FILTER (WHERE t.running = 0), 0) FROM tenant_jobs() t;
$$;
