-- grants: tenant
--
-- Return the tenant of the transaction. A SECURITY DEFINER function still sees the role that its
-- caller set, so a forged `vca.tenant_id` is rejected.
CREATE OR REPLACE FUNCTION public.acting_tenant()
RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := nullif(current_setting('vca.tenant_id', true), '')::uuid;
    v_prefix text := (SELECT d.role_prefix FROM public.deployment d);
BEGIN
    IF v_tenant IS NULL OR (v_prefix IS NOT NULL AND current_setting('role') IS DISTINCT FROM
            v_prefix || 't_' || replace(v_tenant::text, '-', '')) THEN
        RAISE insufficient_privilege USING MESSAGE = 'the transaction is in no tenant';
    END IF;
    RETURN v_tenant;
END $$;
