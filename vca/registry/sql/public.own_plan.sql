-- grants: tenant
--
-- Return the plan of the transaction's tenant.
CREATE OR REPLACE FUNCTION public.own_plan(OUT plan text, OUT version integer, OUT document jsonb)
RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.plan, p.version, p.document
    FROM public.tenants t, public.plan_now(t.plan) p
    WHERE t.id = public.acting_tenant();
$$;
