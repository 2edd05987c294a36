-- The schema of a tenant: what a new tenant gets. `{tenant}` is the tenant's id, `{grantees}` the
-- roles that get its tables. Every table but the first has `tenant_id`, which a check pins to the
-- tenant. Every constraint has a name, because Citus accepts no others. Each table is granted by
-- itself: ON ALL TABLES would read the whole catalogue.

-- The schema's tenant as a type with one value, the tenant's id. A table must be opened to be read,
-- with its index. In a server process that has not read the schema before, that takes half a
-- millisecond. A value of a type only needs a catalogue look-up.
CREATE TYPE tenant_identity AS ENUM ('{tenant}');

-- The tenant whose schema this is.
CREATE TABLE tenant_self (
    id uuid NOT NULL,
    CONSTRAINT tenant_self_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_self_id_check CHECK (id = '{tenant}')
);
INSERT INTO tenant_self (id) VALUES ('{tenant}');
GRANT SELECT ON tenant_self TO {grantees};

-- One row, which is inserted here: the id is the tenant's.
CREATE TABLE settings (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    home_country text,
    time_zone text NOT NULL DEFAULT 'UTC',
    hours jsonb,
    sentences jsonb NOT NULL DEFAULT '{}',
    phrases jsonb NOT NULL DEFAULT '{}',
    retention_days jsonb NOT NULL DEFAULT '{}',
    dial_policy jsonb NOT NULL DEFAULT '{}',
    variables jsonb NOT NULL DEFAULT '{}',
    notification_email text,
    limits jsonb NOT NULL DEFAULT '{}',
    dialling_frozen_at timestamptz,
    spend_cap bigint,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT settings_pkey PRIMARY KEY (id),
    CONSTRAINT settings_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT settings_one_check CHECK (id = tenant_id)
);
INSERT INTO settings (id, tenant_id) VALUES ('{tenant}', '{tenant}');
GRANT SELECT, INSERT, UPDATE, DELETE ON settings TO {grantees};

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
    redaction jsonb NOT NULL DEFAULT '{}',
    turn jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ai_profiles_pkey PRIMARY KEY (id),
    CONSTRAINT ai_profiles_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT ai_profiles_role_check
        CHECK (role IN ('receptionist', 'sales', 'support', 'dispatcher', 'custom'))
);
CREATE UNIQUE INDEX ai_profiles_one_default_key ON ai_profiles (is_default) WHERE is_default;
GRANT SELECT, INSERT, UPDATE, DELETE ON ai_profiles TO {grantees};

-- Calls name the version of the profile that answered them.
CREATE TABLE ai_profile_versions (
    ai_profile_id uuid NOT NULL,
    version integer NOT NULL,
    tenant_id uuid NOT NULL,
    profile jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ai_profile_versions_pkey PRIMARY KEY (ai_profile_id, version),
    CONSTRAINT ai_profile_versions_tenant_id_check CHECK (tenant_id = '{tenant}')
);
GRANT SELECT, INSERT, UPDATE, DELETE ON ai_profile_versions TO {grantees};

-- A tenant's own accounts with carriers. `sealed` holds the encrypted credentials.
CREATE TABLE telephony_accounts (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    provider_type text NOT NULL,
    label text,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT telephony_accounts_pkey PRIMARY KEY (id),
    CONSTRAINT telephony_accounts_tenant_id_check CHECK (tenant_id = '{tenant}')
);
GRANT SELECT, INSERT, UPDATE, DELETE ON telephony_accounts TO {grantees};

-- `registration_round` counts the changes of carrier. `previous_carrier` is where the number is
-- still registered while it moves.
CREATE TABLE phone_numbers (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    did_number text NOT NULL,
    provider_type text NOT NULL,
    telephony_account_id uuid,
    previous_carrier jsonb,
    label text,
    is_active boolean NOT NULL,
    mode text NOT NULL,
    forward_to text,
    ai_profile_id uuid,
    fallback_number text,
    hours jsonb,
    decision_url text,
    decision_secret bytea,
    registration_status text NOT NULL,
    registration_code text,
    registration_detail text,
    registration_checked_at timestamptz,
    registration_next_attempt_at timestamptz,
    registration_round integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT phone_numbers_pkey PRIMARY KEY (id),
    CONSTRAINT phone_numbers_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT phone_numbers_did_number_key UNIQUE (did_number),
    CONSTRAINT phone_numbers_mode_check CHECK (mode IN ('agent', 'forward', 'closed')),
    CONSTRAINT phone_numbers_registration_status_check
        CHECK (registration_status IN ('pending', 'registered', 'failed', 'unregistered')),
    CONSTRAINT phone_numbers_ai_profile_id_fkey
        FOREIGN KEY (ai_profile_id) REFERENCES ai_profiles (id),
    CONSTRAINT phone_numbers_telephony_account_id_fkey
        FOREIGN KEY (telephony_account_id) REFERENCES telephony_accounts (id)
);
CREATE INDEX phone_numbers_ai_profile_id_idx ON phone_numbers (ai_profile_id);
CREATE INDEX phone_numbers_telephony_account_id_idx ON phone_numbers (telephony_account_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON phone_numbers TO {grantees};

-- There is no foreign key to the account, the profile or the number: calls outlive them.
-- `websocket_offer` is the slot in the token of the last voice WebSocket, `websocket_slot` the slot
-- of its current connection: they differ once the carrier has reconnected. `reserved` is what a
-- live call may still spend of the cap.
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
    provider_call_id text,
    telephony_account_id uuid,
    simulated boolean NOT NULL,
    simulation jsonb,
    started_at timestamptz NOT NULL,
    dialled_at timestamptz,
    answered_at timestamptz,
    ended_at timestamptz,
    route jsonb NOT NULL,
    call_metadata jsonb NOT NULL,
    websocket_offer uuid,
    websocket_slot uuid,
    spoken_language jsonb,
    transfer jsonb,
    latency jsonb,
    tokens integer NOT NULL DEFAULT 0,
    output_tokens integer NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    recording_status text,
    analysis_status text NOT NULL DEFAULT 'none',
    analysis_reason text,
    analysed_at timestamptz,
    summary text,
    outcome text,
    data jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT calls_pkey PRIMARY KEY (id),
    CONSTRAINT calls_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT calls_provider_type_provider_call_id_key UNIQUE (provider_type, provider_call_id),
    CONSTRAINT calls_direction_check CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT calls_status_check
        CHECK (status IN (
            'queued', 'ringing', 'in_progress', 'transferring', 'completed', 'failed'
        ))
);
CREATE INDEX calls_started_at_id_idx ON calls (started_at, id);
CREATE INDEX calls_live_idx ON calls (started_at)
    WHERE status IN ('queued', 'ringing', 'in_progress', 'transferring');
CREATE INDEX calls_phone_number_id_started_at_idx ON calls (phone_number_id, started_at);
CREATE INDEX calls_caller_number_started_at_idx ON calls (caller_number, started_at);
CREATE INDEX calls_simulated_idx ON calls (ended_at) WHERE simulated;
CREATE INDEX calls_ai_profile_id_ai_profile_version_idx
    ON calls (ai_profile_id, ai_profile_version);
GRANT SELECT, INSERT, UPDATE, DELETE ON calls TO {grantees};

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
    CONSTRAINT call_events_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT call_events_call_id_event_key_key UNIQUE (call_id, event_key),
    CONSTRAINT call_events_event_type_check
        CHECK (event_type IN ('INITIATED', 'RINGING', 'ANSWERED', 'ENDED', 'FAILED')),
    CONSTRAINT call_events_call_id_fkey FOREIGN KEY (call_id) REFERENCES calls (id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON call_events TO {grantees};

CREATE TABLE turns (
    call_id uuid NOT NULL,
    sequence integer NOT NULL,
    tenant_id uuid NOT NULL,
    speaker text NOT NULL,
    text text NOT NULL,
    heard_text text,
    answers integer,
    actions jsonb NOT NULL DEFAULT '[]',
    refused_tools jsonb NOT NULL DEFAULT '[]',
    started_at timestamptz NOT NULL,
    latency_ms jsonb NOT NULL,
    tokens jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT turns_pkey PRIMARY KEY (call_id, sequence),
    CONSTRAINT turns_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT turns_speaker_check CHECK (speaker IN ('caller', 'agent')),
    CONSTRAINT turns_call_id_fkey FOREIGN KEY (call_id) REFERENCES calls (id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON turns TO {grantees};

-- Every leg that was dialled, for the limits of dialling.
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
GRANT SELECT, INSERT, UPDATE, DELETE ON outbound_legs TO {grantees};

CREATE TABLE messages (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    call_id uuid,
    simulated boolean NOT NULL DEFAULT false,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'new',
    caller_number text,
    callback_number text,
    name text,
    reason text,
    recording_id uuid,
    mailed_at timestamptz,
    mail_status text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT messages_pkey PRIMARY KEY (id),
    CONSTRAINT messages_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT messages_kind_check CHECK (kind IN ('message', 'voicemail')),
    CONSTRAINT messages_status_check CHECK (status IN ('new', 'done')),
    CONSTRAINT messages_mail_status_check
        CHECK (mail_status IN ('none', 'pending', 'sent', 'failed'))
);
CREATE INDEX messages_created_at_id_idx ON messages (created_at, id);
CREATE INDEX messages_call_id_idx ON messages (call_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON messages TO {grantees};

-- There is no foreign key to the account: recordings outlive it.
CREATE TABLE recordings (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    provider_type text NOT NULL,
    telephony_account_id uuid,
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
    CONSTRAINT recordings_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT recordings_call_id_kind_key UNIQUE (call_id, kind),
    CONSTRAINT recordings_kind_check CHECK (kind IN ('call', 'voicemail')),
    CONSTRAINT recordings_status_check CHECK (status IN ('pending', 'stored', 'failed', 'deleted')),
    CONSTRAINT recordings_carrier_copy_check CHECK (carrier_copy IN ('kept', 'deleted'))
);
CREATE INDEX recordings_delete_after_idx ON recordings (delete_after) WHERE status = 'stored';
GRANT SELECT, INSERT, UPDATE, DELETE ON recordings TO {grantees};

-- What the webhooks of the tenant and of the platform receive. Events are never changed.
CREATE TABLE events (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    type text NOT NULL,
    simulated boolean NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_tenant_id_check CHECK (tenant_id = '{tenant}')
);
CREATE INDEX events_created_at_id_idx ON events (created_at, id);
GRANT SELECT, INSERT, DELETE ON events TO {grantees};

CREATE TABLE webhooks (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    url text NOT NULL,
    description text,
    events jsonb NOT NULL,
    is_active boolean NOT NULL,
    disabled_reason text,
    disabled_at timestamptz,
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_secret_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    paused_until timestamptz,
    busy_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhooks_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT webhooks_disabled_reason_check CHECK (disabled_reason IN ('gone', 'failing'))
);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks TO {grantees};

CREATE TABLE webhook_deliveries (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    tries integer NOT NULL DEFAULT 0,
    attempts jsonb NOT NULL DEFAULT '[]',
    next_attempt_at timestamptz,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT webhook_deliveries_webhook_id_event_id_key UNIQUE (webhook_id, event_id),
    CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('pending', 'delivered', 'failed')),
    CONSTRAINT webhook_deliveries_webhook_id_fkey
        FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_webhook_id_next_attempt_at_created_at_idx
    ON webhook_deliveries (webhook_id, next_attempt_at, created_at)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_webhook_id_created_at_id_idx
    ON webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_created_at_idx ON webhook_deliveries (created_at);
CREATE INDEX webhook_deliveries_test_idx ON webhook_deliveries (webhook_id, created_at)
    WHERE type = 'webhook.test';
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries TO {grantees};

-- Facts are never changed and never deleted: there is no grant for it.
CREATE TABLE usage_facts (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    leg text,
    quantity bigint NOT NULL,
    included bigint NOT NULL,
    unit_price bigint NOT NULL,
    price_per bigint NOT NULL,
    amount bigint NOT NULL,
    plan text NOT NULL,
    plan_version integer NOT NULL,
    period date NOT NULL,
    call_id uuid,
    phone_number_id uuid,
    reverses uuid,
    occurred_at timestamptz NOT NULL,
    noted_at timestamptz NOT NULL,
    CONSTRAINT usage_facts_pkey PRIMARY KEY (id),
    CONSTRAINT usage_facts_tenant_id_check CHECK (tenant_id = '{tenant}')
);
CREATE INDEX usage_facts_occurred_at_idx ON usage_facts (occurred_at);
CREATE INDEX usage_facts_simulated_idx ON usage_facts (occurred_at) INCLUDE (quantity)
    WHERE kind = 'simulated_tokens';
GRANT SELECT, INSERT ON usage_facts TO {grantees};

-- Exports and erasures of a caller's data. `sealed_number` is encrypted, `number_hash` is keyed.
CREATE TABLE privacy_requests (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    sealed_number bytea,
    number_hash text NOT NULL,
    result jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT privacy_requests_pkey PRIMARY KEY (id),
    CONSTRAINT privacy_requests_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT privacy_requests_kind_check CHECK (kind IN ('export', 'erasure')),
    CONSTRAINT privacy_requests_status_check
        CHECK (status IN ('pending', 'waiting', 'done', 'expired'))
);
CREATE INDEX privacy_requests_kind_status_idx ON privacy_requests (kind, status);
GRANT SELECT, INSERT, UPDATE, DELETE ON privacy_requests TO {grantees};

-- Rows are inserted and read, and never changed.
CREATE TABLE audit_entries (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    actor text NOT NULL,
    key_id uuid,
    key_prefix text,
    request_id text,
    operation text NOT NULL,
    object_type text,
    object_id uuid,
    changes jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_entries_pkey PRIMARY KEY (id),
    CONSTRAINT audit_entries_tenant_id_check CHECK (tenant_id = '{tenant}')
);
GRANT SELECT, INSERT ON audit_entries TO {grantees};

CREATE TABLE idempotency_keys (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    api_key text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status integer,
    headers jsonb NOT NULL DEFAULT '{}',
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (id),
    CONSTRAINT idempotency_keys_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT idempotency_keys_api_key_key_key UNIQUE (api_key, key)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO {grantees};
