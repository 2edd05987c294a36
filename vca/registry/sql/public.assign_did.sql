-- grants: platform
--
-- Assign a number to a tenant. Returns 'assigned', 'taken' or 'unknown' (no such tenant).
CREATE OR REPLACE FUNCTION public.assign_did(p_number text, p_tenant uuid)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := now();
BEGIN
    PERFORM FROM public.tenants t WHERE t.id = p_tenant AND t.status <> 'deleted' FOR SHARE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    INSERT INTO public.dids AS d (did_number, tenant_id, state)
    VALUES (p_number, p_tenant, 'assigned')
    ON CONFLICT (did_number) DO UPDATE
    SET tenant_id = p_tenant, state = 'assigned', rests_until = NULL, phone_number_id = NULL,
        updated_at = v_now
    WHERE d.state = 'resting' OR (d.state = 'assigned' AND d.tenant_id = p_tenant);
    RETURN CASE WHEN FOUND THEN 'assigned' ELSE 'taken' END;
END $$;
