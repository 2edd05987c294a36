"""Create the functions with which tenants and the platform change `public`.

They take the tenant from the transaction if one is entered, qualify every name and pin their
search_path, so that they can become SECURITY DEFINER without changes.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

CREATE_TENANT = """
CREATE FUNCTION public.create_tenant(
    p_id uuid, p_name text, p_plan text, p_external_id text,
    p_schema_sentinel text, p_tenant_sentinel text
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_schema text := 't_' || replace(p_id::text, '-', '');
    v_ddl public.tenant_ddl%ROWTYPE;
BEGIN
    SELECT * INTO v_ddl FROM public.tenant_ddl ORDER BY installed_at DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the tenant schema is not installed: run flask db upgrade';
    END IF;
    INSERT INTO public.tenants (id, name, plan, status, external_id, schema_revision)
    VALUES (p_id, p_name, p_plan, 'active', p_external_id, v_ddl.revision);
    EXECUTE format('CREATE SCHEMA %I', v_schema);
    PERFORM set_config('search_path', format('%I', v_schema), true);
    EXECUTE replace(
        replace(v_ddl.script, p_schema_sentinel, v_schema), p_tenant_sentinel, p_id::text
    );
END $$;
"""

# Returns whether the row was changed; false if the tenant or the transition does not exist.
UPDATE_TENANT = """
CREATE FUNCTION public.update_tenant(p_id uuid, p_status text, p_plan text)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.tenants t
    SET status = coalesce(p_status, t.status),
        plan = coalesce(p_plan, t.plan),
        updated_at = now(),
        deleted_at = CASE coalesce(p_status, t.status)
            WHEN 'deleted' THEN coalesce(t.deleted_at, now()) END
    WHERE t.id = p_id
      AND (p_status IS NULL OR p_status = t.status OR (t.status, p_status) IN (
            ('active', 'suspended'), ('suspended', 'active'),
            ('active', 'deleted'), ('suspended', 'deleted'), ('deleted', 'active')));
    RETURN FOUND;
END $$;
"""

# Returns 'claimed', 'taken' (by any tenant) or 'unassigned'. Terms: 'open' is first come, first
# served; 'assigned' allows only numbers assigned to the tenant; 'platform' also allows quarantined
# numbers.
CLAIM_DID = """
CREATE FUNCTION public.claim_did(
    p_number text, p_phone_number_id uuid, p_provider_type text, p_terms text
)
RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := current_setting('vca.tenant_id')::uuid;
BEGIN
    IF p_terms = 'assigned' THEN
        UPDATE public.dids d
        SET state = 'claimed', phone_number_id = p_phone_number_id,
            provider_type = p_provider_type, registration_status = 'pending',
            rests_until = NULL, updated_at = now()
        WHERE d.did_number = p_number AND d.tenant_id = v_tenant AND d.state <> 'claimed';
    ELSE
        INSERT INTO public.dids AS d
            (did_number, tenant_id, state, phone_number_id, provider_type, registration_status)
        VALUES (p_number, v_tenant, 'claimed', p_phone_number_id, p_provider_type, 'pending')
        ON CONFLICT (did_number) DO UPDATE
        SET tenant_id = v_tenant, state = 'claimed', phone_number_id = p_phone_number_id,
            provider_type = p_provider_type, registration_status = 'pending',
            rests_until = NULL, updated_at = now()
        WHERE (d.tenant_id = v_tenant AND d.state <> 'claimed')
           OR (d.state = 'resting' AND (p_terms = 'platform' OR d.rests_until <= now()));
    END IF;
    IF FOUND THEN
        RETURN 'claimed';
    END IF;
    PERFORM FROM public.dids d
    WHERE d.did_number = p_number AND (d.state <> 'resting' OR d.rests_until > now());
    RETURN CASE WHEN FOUND THEN 'taken' ELSE 'unassigned' END;
END $$;
"""

RELEASE_DID = """
CREATE FUNCTION public.release_did(p_number text, p_rest interval)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.dids d
    SET state = 'resting', rests_until = now() + p_rest, phone_number_id = NULL,
        registration_status = NULL, updated_at = now()
    WHERE d.did_number = p_number AND d.state = 'claimed'
      AND d.tenant_id = current_setting('vca.tenant_id')::uuid;
    RETURN FOUND;
END $$;
"""

NOTE_REGISTRATION = """
CREATE FUNCTION public.note_did_registration(
    p_number text, p_phone_number_id uuid, p_provider_type text, p_status text
)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.dids d
    SET registration_status = p_status, provider_type = p_provider_type, updated_at = now()
    WHERE d.did_number = p_number AND d.phone_number_id = p_phone_number_id
      AND d.tenant_id = current_setting('vca.tenant_id')::uuid;
    RETURN FOUND;
END $$;
"""

# A deleted tenant's claimed numbers keep their phone_number_id while they are quarantined: a
# restored tenant gets these back. Numbers that were only assigned are released.
RELEASE_TENANT_DIDS = """
CREATE FUNCTION public.release_tenant_dids(p_tenant uuid, p_rest interval)
RETURNS SETOF public.dids
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM public.dids d WHERE d.tenant_id = p_tenant AND d.state = 'assigned';
    RETURN QUERY UPDATE public.dids d
    SET state = 'resting', rests_until = now() + p_rest, updated_at = now()
    WHERE d.tenant_id = p_tenant AND d.state = 'claimed'
    RETURNING d.*;
END $$;
"""

RESTORE_TENANT_DIDS = """
CREATE FUNCTION public.restore_tenant_dids(p_tenant uuid)
RETURNS SETOF public.dids
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY UPDATE public.dids d
    SET state = 'claimed', rests_until = NULL, registration_status = 'pending', updated_at = now()
    WHERE d.tenant_id = p_tenant AND d.state = 'resting' AND d.phone_number_id IS NOT NULL
    RETURNING d.*;
END $$;
"""

COUNT_DID_MISS = """
CREATE FUNCTION public.count_did_miss(p_number text)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.did_misses AS m (did_number, misses) VALUES (left(p_number, 32), 1)
    ON CONFLICT (did_number) DO UPDATE SET misses = m.misses + 1, last_missed_at = now();
$$;
"""


def upgrade() -> None:
    for function in (
        CREATE_TENANT,
        UPDATE_TENANT,
        CLAIM_DID,
        RELEASE_DID,
        NOTE_REGISTRATION,
        RELEASE_TENANT_DIDS,
        RESTORE_TENANT_DIDS,
        COUNT_DID_MISS,
    ):
        op.execute(function)
