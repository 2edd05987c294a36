-- grants: platform
--
-- Create a tenant: its row, its role, its schema and all tables of the stored script. The sentinels
-- are those of `vca.tenancy.schema`.
CREATE OR REPLACE FUNCTION public.create_tenant(
    p_id uuid, p_name text, p_plan text, p_external_id text
)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_schema text := 't_' || replace(p_id::text, '-', '');
    v_grantees text;
    v_ddl public.tenant_ddl%ROWTYPE;
BEGIN
    SELECT * INTO v_ddl FROM public.tenant_ddl ORDER BY installed_at DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the tenant schema is not installed: run flask db upgrade';
    END IF;
    INSERT INTO public.tenants (id, name, plan, status, external_id, schema_revision)
    VALUES (p_id, p_name, p_plan, 'active', p_external_id, v_ddl.revision);
    v_grantees := public.tenant_grantees(p_id);
    EXECUTE format('CREATE SCHEMA %I', v_schema);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', v_schema, v_grantees);
    PERFORM set_config('search_path', format('%I', v_schema), true);
    EXECUTE replace(replace(replace(v_ddl.script,
        't_5ca1ab1e0000400080000000000000ff', v_schema),
        '5ca1ab1e-0000-4000-8000-0000000000ff', p_id::text),
        '"5ca1ab1e_grantees"', v_grantees);
END $$;
