-- grants: platform
--
-- Count a call to a number that no tenant has.
CREATE OR REPLACE FUNCTION public.count_did_miss(p_number text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := now();
BEGIN
    INSERT INTO public.did_misses AS m (did_number, misses, first_missed_at, last_missed_at)
    VALUES (left(p_number, 32), 1, v_now, v_now)
    ON CONFLICT (did_number) DO UPDATE SET misses = m.misses + 1, last_missed_at = v_now;
END $$;
