-- grants: tenant
--
-- Delete the waiting job with a lock of the transaction's tenant. Returns whether there was one.
CREATE OR REPLACE FUNCTION jobs.withdraw(p_lock text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
BEGIN
    DELETE FROM procrastinate_jobs j
    WHERE j.queueing_lock = concat(public.acting_tenant(), ':', p_lock) AND j.status = 'todo';
    RETURN FOUND;
END $$;
