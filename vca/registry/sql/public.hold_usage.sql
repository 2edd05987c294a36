-- grants: tenant
--
-- Return the same as own_usage, and lock the row of the month until the transaction ends. Create
-- the row if necessary.
CREATE OR REPLACE FUNCTION public.hold_usage(
    p_period date, OUT plan text, OUT version integer, OUT document jsonb, OUT amount bigint,
    OUT kinds jsonb, OUT told jsonb
)
RETURNS record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := public.acting_tenant();
    v_now timestamptz := now();
BEGIN
    PERFORM FROM public.usage_periods u
    WHERE u.period = p_period AND u.tenant_id = v_tenant FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO public.usage_periods AS u (period, tenant_id, currency, amount, kinds, told)
        SELECT p_period, v_tenant, p.document->>'currency', 0, '{}', '[]' FROM public.own_plan() p
        ON CONFLICT ON CONSTRAINT usage_periods_pkey DO UPDATE SET updated_at = v_now;
    END IF;
    SELECT * INTO plan, version, document, amount, kinds, told FROM public.own_usage(p_period);
END $$;
