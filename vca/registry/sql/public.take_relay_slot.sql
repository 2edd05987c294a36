-- grants: platform
--
-- Acquire a concurrency slot of voice WebSockets. Returns false if none is free.
--
-- It deletes the expired slots and then counts. The transactions take turns, so that only one of
-- two gets the last slot. A slot that was lost with the server is rejected and its caller is served
-- over HTTP, so no commit waits for the disk.
CREATE OR REPLACE FUNCTION public.take_relay_slot(p_id uuid, p_most integer, p_wait interval)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtext('vca.relay_slots'));
    DELETE FROM public.relay_slots s WHERE s.ends_at <= clock_timestamp();
    IF (SELECT count(*) FROM public.relay_slots) >= p_most THEN
        RETURN false;
    END IF;
    INSERT INTO public.relay_slots (id, ends_at) VALUES (p_id, clock_timestamp() + p_wait);
    RETURN true;
END $$;
