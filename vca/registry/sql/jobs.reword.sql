-- grants: tenant
--
-- Replace the arguments of a job of the transaction's tenant. Returns whether it was still waiting;
-- the tenant in its arguments stays the same.
CREATE OR REPLACE FUNCTION jobs.reword(p_id bigint, p_args jsonb)
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
