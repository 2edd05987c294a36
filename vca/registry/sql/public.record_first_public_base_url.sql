-- grants: platform
--
-- Record the deployment's first PUBLIC_BASE_URL. It is never changed.
--
-- A deployment that was set up without a URL gets one when its first carrier is configured. A copy
-- of the database with another URL is recognised from then on.
CREATE OR REPLACE FUNCTION public.record_first_public_base_url(p_url text)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.deployment SET public_base_url = p_url, updated_at = now()
    WHERE public_base_url = '';
$$;
