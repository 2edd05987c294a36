"""Create tenants, the number registry, API keys, and the compiled tenant schema."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE public.tenants (
    id uuid NOT NULL,
    name text NOT NULL,
    plan text NOT NULL,
    status text NOT NULL,
    external_id text,
    schema_revision text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_external_id_key UNIQUE (external_id),
    CONSTRAINT tenants_plan_check CHECK (plan IN ('starter', 'growth', 'custom')),
    CONSTRAINT tenants_status_check CHECK (status IN ('active', 'suspended', 'deleted'))
);
CREATE INDEX tenants_created_at_id_idx ON public.tenants (created_at, id);

CREATE TABLE public.dids (
    did_number text NOT NULL,
    tenant_id uuid NOT NULL,
    state text NOT NULL,
    phone_number_id uuid,
    provider_type text,
    registration_status text,
    rests_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dids_pkey PRIMARY KEY (did_number),
    CONSTRAINT dids_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants (id),
    CONSTRAINT dids_did_number_check CHECK (did_number ~ '^\\+[1-9][0-9]{6,14}$'),
    CONSTRAINT dids_state_check CHECK (state IN ('assigned', 'claimed', 'resting')),
    CONSTRAINT dids_claim_check CHECK (state <> 'claimed' OR phone_number_id IS NOT NULL),
    CONSTRAINT dids_rest_check CHECK ((state = 'resting') = (rests_until IS NOT NULL))
);
CREATE INDEX dids_tenant_id_idx ON public.dids (tenant_id);

CREATE TABLE public.did_misses (
    did_number text NOT NULL,
    misses bigint NOT NULL,
    first_missed_at timestamptz NOT NULL DEFAULT now(),
    last_missed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT did_misses_pkey PRIMARY KEY (did_number)
);

CREATE TABLE public.api_keys (
    id uuid NOT NULL,
    tenant_id uuid,
    prefix text NOT NULL,
    key_hash bytea NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_prefix_key UNIQUE (prefix),
    CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants (id)
);
CREATE INDEX api_keys_tenant_id_created_at_id_idx
    ON public.api_keys (tenant_id, created_at, id);

CREATE TABLE public.tenant_ddl (
    revision text NOT NULL,
    script text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_ddl_pkey PRIMARY KEY (revision)
);
"""


def upgrade() -> None:
    op.execute(TABLES)
