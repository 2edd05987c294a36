-- grants: platform
--
-- Change a tenant's status or plan. Returns the previous status, and whether the tenant could be
-- changed; no row if there is no tenant.
CREATE OR REPLACE FUNCTION public.update_tenant(
    p_id uuid, p_status text, p_plan text, OUT status_before text, OUT changed boolean
)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := now();
BEGIN
    SELECT t.status INTO status_before FROM public.tenants t WHERE t.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE public.tenants t
    SET status = coalesce(p_status, t.status),
        plan = coalesce(p_plan, t.plan),
        updated_at = v_now,
        deleted_at = CASE coalesce(p_status, t.status)
            WHEN 'deleted' THEN coalesce(t.deleted_at, v_now) END
    WHERE t.id = p_id AND t.schema_revision <> 'purging'
      AND (p_status IS NULL OR p_status = t.status OR (t.status, p_status) IN (
            ('active', 'suspended'), ('suspended', 'active'),
            ('active', 'deleted'), ('suspended', 'deleted'), ('deleted', 'active')));
    changed := FOUND;
    RETURN NEXT;
END $$;
