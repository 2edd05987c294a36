-- grants: none
--
-- Return how long a released number is in quarantine.
CREATE OR REPLACE FUNCTION public.did_quarantine()
RETURNS interval
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT interval '30 days';
$$;
