-- grants: tenant
--
-- Return a number of the transaction's tenant and the tenant's state; no row for another tenant's
-- number.
CREATE OR REPLACE FUNCTION public.own_did(
    p_number text, OUT tenant_status text, OUT phone_number_id uuid, OUT state text,
    OUT rests_until timestamptz, OUT schema_revision text
)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.status, d.phone_number_id, d.state, d.rests_until, t.schema_revision
    FROM public.dids d JOIN public.tenants t ON t.id = d.tenant_id
    WHERE d.did_number = p_number AND d.tenant_id = public.acting_tenant();
$$;
