-- grants: platform
--
-- Permit a tenant to claim a number that is not assigned to it, for 60 seconds, and once. With
-- p_quarantined the number may also be in quarantine. A transaction inside a tenant cannot permit
-- anything: what a tenant may claim is decided outside of it, before.
CREATE OR REPLACE FUNCTION public.permit_claim(p_number text, p_tenant uuid, p_quarantined boolean)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF coalesce(current_setting('vca.tenant_id', true), '') <> '' THEN
        RAISE insufficient_privilege USING MESSAGE = 'the transaction is inside a tenant';
    END IF;
    DELETE FROM public.did_permits p WHERE p.expires_at <= v_now;
    INSERT INTO public.did_permits AS p (did_number, tenant_id, quarantined, expires_at)
    VALUES (p_number, p_tenant, p_quarantined, v_now + interval '60 seconds')
    ON CONFLICT (did_number, tenant_id) DO UPDATE
    SET quarantined = p_quarantined, expires_at = excluded.expires_at;
END $$;
