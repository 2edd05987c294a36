-- grants: none
--
-- Return the roles that get a tenant's tables, as quoted names; create the role if necessary.
CREATE OR REPLACE FUNCTION public.tenant_grantees(p_id uuid)
RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_deployment public.deployment%ROWTYPE;
    v_role text;
BEGIN
    SELECT * INTO STRICT v_deployment FROM public.deployment;
    IF v_deployment.role_prefix IS NULL THEN
        RETURN format('%I, %I', v_deployment.web_login, v_deployment.worker_login);
    END IF;
    v_role := v_deployment.role_prefix || 't_' || replace(p_id::text, '-', '');
    IF to_regrole(quote_ident(v_role)) IS NULL THEN
        -- Members in the same statement: a GRANT of its own would go through all roles once more.
        EXECUTE format('CREATE ROLE %I ROLE %I, %I',
                       v_role, v_deployment.web_login, v_deployment.worker_login);
    END IF;
    RETURN quote_ident(v_role);
END $$;
