"""Add hours, limits, dialling, outbound calls, transfers, messages, recordings, idempotency keys.

Only adds: the code before this revision runs on it too.
"""

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0002"
down_revision = "0001"

COLUMNS = """
ALTER TABLE settings
    ADD COLUMN home_country text,
    ADD COLUMN hours jsonb,
    ADD COLUMN retention_days jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN dial_policy jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN variables jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN notification_email text,
    ADD COLUMN limits jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN dialling_frozen_at timestamptz;

ALTER TABLE phone_numbers ADD COLUMN hours jsonb;

ALTER TABLE calls
    ADD COLUMN transfer jsonb,
    ADD COLUMN tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN dialled_at timestamptz,
    ADD COLUMN analysed_at timestamptz,
    ALTER COLUMN provider_call_id DROP NOT NULL;

ALTER TABLE turns
    ADD COLUMN answers integer,
    ADD COLUMN actions jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN tokens jsonb NOT NULL DEFAULT '{}';
"""

TABLES = """
CREATE TABLE outbound_legs (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    call_id uuid,
    kind text NOT NULL,
    number text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbound_legs_pkey PRIMARY KEY (id),
    CONSTRAINT outbound_legs_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT outbound_legs_kind_check CHECK (kind IN ('call', 'transfer', 'forward'))
);
CREATE INDEX outbound_legs_created_at_idx ON outbound_legs (created_at);

CREATE TABLE messages (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    call_id uuid,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'new',
    caller_number text,
    callback_number text,
    name text,
    reason text,
    recording_id uuid,
    mailed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT messages_pkey PRIMARY KEY (id),
    CONSTRAINT messages_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT messages_kind_check CHECK (kind IN ('message', 'voicemail')),
    CONSTRAINT messages_status_check CHECK (status IN ('new', 'done'))
);
CREATE INDEX messages_created_at_id_idx ON messages (created_at, id);

CREATE TABLE recordings (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    provider_type text NOT NULL,
    provider_call_id text NOT NULL,
    provider_recording_id text,
    content_type text,
    size_bytes bigint,
    sha256 text,
    storage_key text,
    carrier_copy text NOT NULL,
    delete_after timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT recordings_pkey PRIMARY KEY (id),
    CONSTRAINT recordings_call_id_kind_key UNIQUE (call_id, kind),
    CONSTRAINT recordings_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT recordings_kind_check CHECK (kind IN ('call', 'voicemail')),
    CONSTRAINT recordings_status_check CHECK (status IN ('pending', 'stored', 'failed', 'deleted')),
    CONSTRAINT recordings_carrier_copy_check CHECK (carrier_copy IN ('kept', 'deleted'))
);

CREATE TABLE idempotency_keys (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    api_key text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status integer,
    headers jsonb NOT NULL DEFAULT '{{}}',
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (id),
    CONSTRAINT idempotency_keys_api_key_key_key UNIQUE (api_key, key),
    CONSTRAINT idempotency_keys_tenant_id_check CHECK (tenant_id = '{tenant}')
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON outbound_legs TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON messages TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON recordings TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO {grantees};
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(TABLES.format(tenant=TENANT_SENTINEL))
    op.execute(GRANTS.format(grantees=GRANTEES_SENTINEL))
