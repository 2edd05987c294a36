-- grants: platform
--
-- Give the quarantined numbers back to a restored tenant and return them.
CREATE OR REPLACE FUNCTION public.restore_tenant_dids(p_tenant uuid)
RETURNS SETOF public.dids
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY UPDATE public.dids d
    SET state = 'claimed', rests_until = NULL, registration_status = 'pending', updated_at = now()
    WHERE d.tenant_id = p_tenant AND d.state = 'resting' AND d.phone_number_id IS NOT NULL
    RETURNING d.*;
END $$;
