-- grants: platform
--
-- Stop or resume dialling for all tenants.
CREATE OR REPLACE FUNCTION public.freeze_dialling(p_frozen boolean)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := now();
BEGIN
    UPDATE public.deployment
    SET dialling_frozen_at = CASE WHEN p_frozen THEN coalesce(dialling_frozen_at, v_now) END;
END $$;
