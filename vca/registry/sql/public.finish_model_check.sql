-- grants: platform
--
-- Store the result of a check of a language model.
CREATE OR REPLACE FUNCTION public.finish_model_check(
    p_endpoint text, p_model text, p_support jsonb, p_failure text
)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO public.model_checks AS c
        (endpoint, model, started_at, checked_at, support, failure)
    VALUES (p_endpoint, p_model, v_now, v_now, p_support, p_failure)
    ON CONFLICT (endpoint, model) DO UPDATE SET checked_at = v_now,
        support = p_support, failure = p_failure;
    RETURN true;
END $$;
