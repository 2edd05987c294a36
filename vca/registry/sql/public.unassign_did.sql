-- grants: platform
--
-- Return 'free', 'claimed' (nothing was changed) or 'unknown'.
CREATE OR REPLACE FUNCTION public.unassign_did(p_number text)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_state text;
BEGIN
    SELECT d.state INTO v_state FROM public.dids d WHERE d.did_number = p_number FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    ELSIF v_state = 'claimed' THEN
        RETURN 'claimed';
    END IF;
    DELETE FROM public.dids d WHERE d.did_number = p_number;
    RETURN 'free';
END $$;
