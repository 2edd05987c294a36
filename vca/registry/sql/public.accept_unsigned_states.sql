-- grants: platform
--
-- Return whether unsigned states of calls are still accepted. The first call in the life of a
-- database starts the 15 minutes.
CREATE OR REPLACE FUNCTION public.accept_unsigned_states()
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.deployment SET unsigned_states_until = clock_timestamp() + interval '15 minutes'
    WHERE unsigned_states_until IS NULL;
    RETURN coalesce(
        (SELECT d.unsigned_states_until > clock_timestamp() FROM public.deployment d), false);
END $$;
