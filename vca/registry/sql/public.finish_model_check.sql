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
BEGIN
    INSERT INTO public.model_checks AS c
        (endpoint, model, started_at, checked_at, support, failure)
    VALUES (p_endpoint, p_model, clock_timestamp(), clock_timestamp(), p_support, p_failure)
    ON CONFLICT (endpoint, model) DO UPDATE SET checked_at = clock_timestamp(),
        support = p_support, failure = p_failure;
    RETURN true;
END $$;
