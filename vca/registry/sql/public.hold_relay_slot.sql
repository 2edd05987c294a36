-- grants: platform
--
-- Open or renew a concurrency slot. A slot is opened once, and renewed only after that; an expired
-- slot can do neither.
CREATE OR REPLACE FUNCTION public.hold_relay_slot(p_id uuid, p_opens boolean, p_lease interval)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE public.relay_slots s SET opened = true, ends_at = clock_timestamp() + p_lease
    WHERE s.id = p_id AND s.opened <> p_opens AND s.ends_at > clock_timestamp();
    RETURN FOUND;
END $$;
