"""Separate tenants in the database: the recorded deployment, and functions with the owner's rights.

The web's and the worker's logins own nothing. What they and a tenant's transaction may do to
`public` are these functions. `vca.registry.privileges` grants who may call which.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

# One row. role_prefix is null if tenants have no roles.
DEPLOYMENT = """
CREATE TABLE public.deployment (
    only_one boolean NOT NULL DEFAULT true,
    environment text NOT NULL,
    public_base_url text NOT NULL,
    role_prefix text,
    web_login text NOT NULL,
    worker_login text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT deployment_pkey PRIMARY KEY (only_one),
    CONSTRAINT deployment_only_one_check CHECK (only_one)
);
"""

# Returns the transaction's tenant. A SECURITY DEFINER function still sees the role that its caller
# set, so a forged vca.tenant_id is rejected.
ACTING_TENANT = """
CREATE FUNCTION public.acting_tenant()
RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := nullif(current_setting('vca.tenant_id', true), '')::uuid;
    v_prefix text := (SELECT d.role_prefix FROM public.deployment d);
BEGIN
    IF v_tenant IS NULL OR (v_prefix IS NOT NULL AND current_setting('role') IS DISTINCT FROM
            v_prefix || 't_' || replace(v_tenant::text, '-', '')) THEN
        RAISE insufficient_privilege USING MESSAGE = 'the transaction is in no tenant';
    END IF;
    RETURN v_tenant;
END $$;
"""

# Returns the roles that get a tenant's tables, as quoted names; creates the role if necessary.
TENANT_GRANTEES = """
CREATE FUNCTION public.tenant_grantees(p_id uuid)
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
"""

CREATE_TENANT = """
DROP FUNCTION public.create_tenant(uuid, text, text, text, text, text);
CREATE FUNCTION public.create_tenant(p_id uuid, p_name text, p_plan text, p_external_id text)
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
"""

# Returns the tenant's previous status, and whether it could be changed; no row if there is no
# tenant.
UPDATE_TENANT = """
DROP FUNCTION public.update_tenant(uuid, text, text);
CREATE FUNCTION public.update_tenant(
    p_id uuid, p_status text, p_plan text, OUT status_before text, OUT changed boolean
)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT t.status INTO status_before FROM public.tenants t WHERE t.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE public.tenants t
    SET status = coalesce(p_status, t.status),
        plan = coalesce(p_plan, t.plan),
        updated_at = now(),
        deleted_at = CASE coalesce(p_status, t.status)
            WHEN 'deleted' THEN coalesce(t.deleted_at, now()) END
    WHERE t.id = p_id AND t.schema_revision <> 'purging'
      AND (p_status IS NULL OR p_status = t.status OR (t.status, p_status) IN (
            ('active', 'suspended'), ('suspended', 'active'),
            ('active', 'deleted'), ('suspended', 'deleted'), ('deleted', 'active')));
    changed := FOUND;
    RETURN NEXT;
END $$;
"""

# Returns 'assigned', 'taken' or 'unknown' (no such tenant).
ASSIGN_DID = """
CREATE FUNCTION public.assign_did(p_number text, p_tenant uuid)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM public.tenants t WHERE t.id = p_tenant AND t.status <> 'deleted' FOR SHARE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    INSERT INTO public.dids AS d (did_number, tenant_id, state)
    VALUES (p_number, p_tenant, 'assigned')
    ON CONFLICT (did_number) DO UPDATE
    SET tenant_id = p_tenant, state = 'assigned', rests_until = NULL, phone_number_id = NULL,
        updated_at = now()
    WHERE d.state = 'resting' OR (d.state = 'assigned' AND d.tenant_id = p_tenant);
    RETURN CASE WHEN FOUND THEN 'assigned' ELSE 'taken' END;
END $$;
"""

# Returns 'free', 'claimed' (nothing was changed) or 'unknown'.
UNASSIGN_DID = """
CREATE FUNCTION public.unassign_did(p_number text)
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
"""

OWN_DID = """
CREATE FUNCTION public.own_did(
    p_number text,
    OUT tenant_status text, OUT phone_number_id uuid, OUT state text,
    OUT rests_until timestamptz, OUT schema_revision text
)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.status, d.phone_number_id, d.state, d.rests_until, t.schema_revision
    FROM public.dids d JOIN public.tenants t ON t.id = d.tenant_id
    WHERE d.did_number = p_number AND d.tenant_id = public.acting_tenant();
$$;
"""

# Returns the phone number that claimed this number; the nil UUID stands for another tenant's.
DID_HOLDER = """
CREATE FUNCTION public.did_holder(p_number text)
RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN d.tenant_id = public.acting_tenant() THEN d.phone_number_id
                ELSE '00000000-0000-0000-0000-000000000000' END
    FROM public.dids d WHERE d.did_number = p_number AND d.state = 'claimed';
$$;
"""

# A tenant's role enqueues jobs for that tenant only.
ENQUEUE = """
CREATE OR REPLACE FUNCTION jobs.enqueue(
    p_task text, p_args jsonb, p_run_at timestamptz DEFAULT NULL
)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
BEGIN
    IF coalesce(current_setting('vca.tenant_id', true), '') <> ''
            OR current_setting('role') NOT IN ('none', session_user) THEN
        p_args := p_args || jsonb_build_object('tenant_id', public.acting_tenant());
    END IF;
    RETURN (procrastinate_defer_jobs_v1(ARRAY[
        ROW('default', p_task, 0, NULL, NULL, p_args, p_run_at)
    ]::procrastinate_job_to_defer_v1[]))[1];
END $$;
"""

# The earlier versions trusted the transaction's setting, which any login can set.
TENANTS_OWN = (
    "public.claim_did(text, uuid, text, text)",
    "public.release_did(text, interval)",
    "public.note_did_registration(text, uuid, text, text)",
)
AS_DEFINER = (
    *TENANTS_OWN,
    "public.release_tenant_dids(uuid, interval)",
    "public.restore_tenant_dids(uuid)",
    "public.count_did_miss(text)",
)
CHECK_THE_ROLE = """
DO $do$
DECLARE
    v_source text := pg_get_functiondef('{function}'::regprocedure);
BEGIN
    EXECUTE replace(
        v_source, 'current_setting(''vca.tenant_id'')::uuid', 'public.acting_tenant()'
    );
    IF pg_get_functiondef('{function}'::regprocedure) = v_source THEN
        RAISE EXCEPTION '{function} was not changed';
    END IF;
END $do$;
"""


def upgrade() -> None:
    for statement in (
        DEPLOYMENT,
        ACTING_TENANT,
        TENANT_GRANTEES,
        CREATE_TENANT,
        UPDATE_TENANT,
        ASSIGN_DID,
        UNASSIGN_DID,
        OWN_DID,
        DID_HOLDER,
        ENQUEUE,
    ):
        op.execute(statement)
    for function in TENANTS_OWN:
        op.execute(CHECK_THE_ROLE.format(function=function))
    for function in AS_DEFINER:
        op.execute(f"ALTER FUNCTION {function} SECURITY DEFINER")
