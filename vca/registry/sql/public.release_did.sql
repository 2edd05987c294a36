-- grants: tenant
--
-- Release a number of the transaction's tenant into quarantine. Returns whether the tenant had it.
CREATE OR REPLACE FUNCTION public.release_did(p_number text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_rests_until timestamptz := now() + public.did_quarantine();
BEGIN
    UPDATE public.dids d
    SET state = 'resting', rests_until = v_rests_until, phone_number_id = NULL,
        registration_status = NULL, updated_at = now()
    WHERE d.did_number = p_number AND d.state = 'claimed'
      AND d.tenant_id = public.acting_tenant();
    RETURN FOUND;
END $$;
