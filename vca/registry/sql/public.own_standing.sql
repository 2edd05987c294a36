-- grants: tenant
--
-- Return the plan, the status and the concurrency limits of the transaction's tenant, and whether
-- dialling is frozen for all tenants.
CREATE OR REPLACE FUNCTION public.own_standing(
    OUT plan text, OUT tenant_status text, OUT dialling_frozen boolean, OUT plan_limits jsonb
)
RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.plan, t.status,
           EXISTS (SELECT FROM public.deployment d WHERE d.dialling_frozen_at IS NOT NULL),
           p.document->'limits'
    FROM public.tenants t, public.plan_now(t.plan) p
    WHERE t.id = public.acting_tenant();
$$;
