-- grants: platform
--
-- Free a concurrency slot. Returns false if it had expired.
CREATE OR REPLACE FUNCTION public.free_relay_slot(p_id uuid)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM public.relay_slots s WHERE s.id = p_id;
    RETURN FOUND;
END $$;
