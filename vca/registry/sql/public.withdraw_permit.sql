-- grants: platform
--
-- Withdraw the permit of a tenant to claim a number, if it was not used.
CREATE OR REPLACE FUNCTION public.withdraw_permit(p_number text, p_tenant uuid)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM public.did_permits p WHERE p.did_number = p_number AND p.tenant_id = p_tenant;
END $$;
