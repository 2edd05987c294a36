-- grants: none
--
-- Return the current version of a plan. A later version applies from its date on.
CREATE OR REPLACE FUNCTION public.plan_now(INOUT plan text, OUT version integer, OUT document jsonb)
RETURNS record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.plan, p.version, p.document
    FROM public.plans p WHERE p.plan = plan_now.plan AND p.valid_from <= now()
    ORDER BY p.valid_from DESC, p.version DESC LIMIT 1;
$$;
