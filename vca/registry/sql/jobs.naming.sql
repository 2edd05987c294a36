-- grants: tenant
--
-- Return the unfinished jobs of the transaction's tenant that contain a match.
CREATE OR REPLACE FUNCTION jobs.naming(p_pattern text)
RETURNS TABLE (id bigint, args jsonb, doing boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
    SELECT j.id, j.args, j.status = 'doing'
    FROM procrastinate_jobs j
    WHERE j.args->>'tenant_id' = public.acting_tenant()::text
      AND j.status IN ('todo', 'doing') AND j.args::text ~ p_pattern;
$$;
