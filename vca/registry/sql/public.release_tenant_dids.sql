-- grants: platform
--
-- Release the numbers of a deleted tenant and return the claimed ones. These keep their
-- phone_number_id while they are quarantined, and a restored tenant gets them back. Numbers that
-- were only assigned are free.
CREATE OR REPLACE FUNCTION public.release_tenant_dids(p_tenant uuid)
RETURNS SETOF public.dids
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_rests_until timestamptz := now() + public.did_quarantine();
BEGIN
    DELETE FROM public.dids d WHERE d.tenant_id = p_tenant AND d.state = 'assigned';
    RETURN QUERY UPDATE public.dids d
    SET state = 'resting', rests_until = v_rests_until, updated_at = now()
    WHERE d.tenant_id = p_tenant AND d.state = 'claimed'
    RETURNING d.*;
END $$;
