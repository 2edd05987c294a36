-- grants: tenant
--
-- Store the sums of a month. The caller has locked the row with hold_usage.
CREATE OR REPLACE FUNCTION public.keep_usage(
    p_period date, p_amount bigint, p_kinds jsonb, p_told jsonb
)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.usage_periods u
    SET amount = p_amount, kinds = p_kinds, told = p_told, updated_at = now()
    WHERE u.period = p_period AND u.tenant_id = public.acting_tenant();
$$;
