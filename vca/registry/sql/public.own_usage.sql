-- grants: tenant
--
-- Return the plan of the transaction's tenant and its usage in a month.
CREATE OR REPLACE FUNCTION public.own_usage(
    p_period date, OUT plan text, OUT version integer, OUT document jsonb, OUT amount bigint,
    OUT kinds jsonb, OUT told jsonb
)
RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.plan, p.version, p.document,
           coalesce(u.amount, 0), coalesce(u.kinds, '{}'), coalesce(u.told, '[]')
    FROM public.own_plan() p
    LEFT JOIN public.usage_periods u
        ON u.period = p_period AND u.tenant_id = public.acting_tenant();
$$;
