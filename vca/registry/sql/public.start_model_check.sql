-- grants: platform
--
-- Return whether the caller is to check the language model now. Only one process starts a check,
-- and no process starts one soon after another.
CREATE OR REPLACE FUNCTION public.start_model_check(
    p_endpoint text, p_model text, p_min_age interval
)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO public.model_checks AS c (endpoint, model, started_at)
    VALUES (p_endpoint, p_model, v_now)
    ON CONFLICT (endpoint, model) DO UPDATE SET started_at = v_now
    WHERE c.started_at <= v_now - p_min_age;
    RETURN FOUND;
END $$;
