"""Create the schema identity, settings, AI profiles, phone numbers, calls, events and turns."""

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE tenant_self (
    id uuid NOT NULL,
    CONSTRAINT tenant_self_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_self_id_check CHECK (id = '{tenant}')
);
INSERT INTO tenant_self (id) VALUES ('{tenant}');

CREATE TABLE settings (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    time_zone text NOT NULL DEFAULT 'UTC',
    sentences jsonb NOT NULL DEFAULT '{{}}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT settings_pkey PRIMARY KEY (id),
    CONSTRAINT settings_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT settings_one_check CHECK (id = tenant_id)
);
INSERT INTO settings (id, tenant_id) VALUES ('{tenant}', '{tenant}');

CREATE TABLE ai_profiles (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    is_default boolean NOT NULL,
    version integer NOT NULL,
    system_prompt text NOT NULL,
    greeting text,
    language text,
    voice text,
    model text,
    temperature double precision,
    max_duration_seconds integer,
    max_turns integer,
    silence_seconds integer,
    end_phrases jsonb NOT NULL,
    tools jsonb NOT NULL,
    transfer_targets jsonb NOT NULL,
    extract jsonb,
    recording boolean NOT NULL,
    consent_sentence text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ai_profiles_pkey PRIMARY KEY (id),
    CONSTRAINT ai_profiles_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT ai_profiles_role_check
        CHECK (role IN ('receptionist', 'sales', 'support', 'dispatcher', 'custom'))
);
CREATE UNIQUE INDEX ai_profiles_one_default_key ON ai_profiles (is_default) WHERE is_default;

CREATE TABLE ai_profile_versions (
    ai_profile_id uuid NOT NULL,
    version integer NOT NULL,
    tenant_id uuid NOT NULL,
    profile jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ai_profile_versions_pkey PRIMARY KEY (ai_profile_id, version),
    CONSTRAINT ai_profile_versions_tenant_id_check CHECK (tenant_id = '{tenant}')
);

CREATE TABLE phone_numbers (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    did_number text NOT NULL,
    provider_type text NOT NULL,
    label text,
    is_active boolean NOT NULL,
    mode text NOT NULL,
    forward_to text,
    ai_profile_id uuid,
    fallback_number text,
    registration_status text NOT NULL,
    registration_code text,
    registration_detail text,
    registration_checked_at timestamptz,
    registration_next_attempt_at timestamptz,
    registration_round integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT phone_numbers_pkey PRIMARY KEY (id),
    CONSTRAINT phone_numbers_did_number_key UNIQUE (did_number),
    CONSTRAINT phone_numbers_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT phone_numbers_mode_check CHECK (mode IN ('agent', 'forward', 'closed')),
    CONSTRAINT phone_numbers_registration_status_check CHECK
        (registration_status IN ('pending', 'registered', 'failed', 'unregistered')),
    CONSTRAINT phone_numbers_ai_profile_id_fkey
        FOREIGN KEY (ai_profile_id) REFERENCES ai_profiles (id)
);
CREATE INDEX phone_numbers_ai_profile_id_idx ON phone_numbers (ai_profile_id);

CREATE TABLE calls (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    phone_number_id uuid,
    ai_profile_id uuid,
    ai_profile_version integer,
    direction text NOT NULL,
    status text NOT NULL,
    end_reason text,
    end_detail text,
    caller_number text,
    caller_id text NOT NULL,
    called_number text NOT NULL,
    provider_type text NOT NULL,
    provider_call_id text NOT NULL,
    simulated boolean NOT NULL,
    started_at timestamptz NOT NULL,
    answered_at timestamptz,
    ended_at timestamptz,
    route jsonb NOT NULL,
    call_metadata jsonb NOT NULL,
    latency jsonb,
    recording_status text,
    summary text,
    outcome text,
    data jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT calls_pkey PRIMARY KEY (id),
    CONSTRAINT calls_provider_type_provider_call_id_key UNIQUE (provider_type, provider_call_id),
    CONSTRAINT calls_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT calls_direction_check CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT calls_status_check CHECK (status IN
        ('queued', 'ringing', 'in_progress', 'transferring', 'completed', 'failed'))
);
CREATE INDEX calls_started_at_id_idx ON calls (started_at, id);

CREATE TABLE call_events (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    event_type text NOT NULL,
    event_key text NOT NULL,
    timestamp timestamptz NOT NULL,
    position integer NOT NULL,
    details jsonb NOT NULL,
    CONSTRAINT call_events_pkey PRIMARY KEY (id),
    CONSTRAINT call_events_call_id_event_key_key UNIQUE (call_id, event_key),
    CONSTRAINT call_events_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT call_events_event_type_check CHECK
        (event_type IN ('INITIATED', 'RINGING', 'ANSWERED', 'ENDED', 'FAILED')),
    CONSTRAINT call_events_call_id_fkey FOREIGN KEY (call_id) REFERENCES calls (id)
);

CREATE TABLE turns (
    call_id uuid NOT NULL,
    sequence integer NOT NULL,
    tenant_id uuid NOT NULL,
    speaker text NOT NULL,
    text text NOT NULL,
    heard_text text,
    started_at timestamptz NOT NULL,
    latency_ms jsonb NOT NULL,
    CONSTRAINT turns_pkey PRIMARY KEY (call_id, sequence),
    CONSTRAINT turns_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT turns_speaker_check CHECK (speaker IN ('caller', 'agent')),
    CONSTRAINT turns_call_id_fkey FOREIGN KEY (call_id) REFERENCES calls (id)
);
"""

# One grant per table: ON ALL TABLES would read the whole catalogue.
GRANTS = """
GRANT SELECT ON tenant_self TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON settings TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON ai_profiles TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON ai_profile_versions TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON phone_numbers TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON calls TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON call_events TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON turns TO {grantees};
"""


def upgrade() -> None:
    op.execute(TABLES.format(tenant=TENANT_SENTINEL))
    op.execute(GRANTS.format(grantees=GRANTEES_SENTINEL))
