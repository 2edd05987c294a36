-- grants: tenant
--
-- Delete the finished jobs of the transaction's tenant that contain a match. Returns their number.
CREATE OR REPLACE FUNCTION jobs.forget_finished(p_pattern text)
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
