-- The tables of the schemas `public` and `jobs`. Their functions are in vca/registry/sql, their
-- grants in vca/registry/privileges.py. The tables of procrastinate exist already.

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

-- Who owns which number. A claimed number has a phone number of its tenant; a resting number is in
-- quarantine. `previous_*` is the carrier that it moves from.
CREATE TABLE public.dids (
    did_number text NOT NULL,
    tenant_id uuid NOT NULL,
    state text NOT NULL,
    rests_until timestamptz,
    phone_number_id uuid,
    provider_type text,
    telephony_account_id uuid,
    previous_provider_type text,
    previous_account_id uuid,
    previous_until timestamptz,
    registration_status text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dids_pkey PRIMARY KEY (did_number),
    CONSTRAINT dids_did_number_check CHECK (did_number ~ '^\+[1-9][0-9]{6,14}$'),
    CONSTRAINT dids_state_check CHECK (state IN ('assigned', 'claimed', 'resting')),
    CONSTRAINT dids_claim_check CHECK (state <> 'claimed' OR phone_number_id IS NOT NULL),
    CONSTRAINT dids_rest_check CHECK ((state = 'resting') = (rests_until IS NOT NULL)),
    CONSTRAINT dids_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants (id)
);
CREATE INDEX dids_tenant_id_idx ON public.dids (tenant_id);

-- What a tenant may claim although the number is not assigned to it. A claim uses up its permit.
CREATE TABLE public.did_permits (
    did_number text NOT NULL,
    tenant_id uuid NOT NULL,
    quarantined boolean NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT did_permits_pkey PRIMARY KEY (did_number, tenant_id),
    CONSTRAINT did_permits_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES public.tenants (id) ON DELETE CASCADE
);

-- Calls to numbers that no tenant has.
CREATE TABLE public.did_misses (
    did_number text NOT NULL,
    misses bigint NOT NULL,
    first_missed_at timestamptz NOT NULL DEFAULT now(),
    last_missed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT did_misses_pkey PRIMARY KEY (did_number)
);

-- A key without a tenant is the platform's.
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
CREATE INDEX api_keys_unrevoked_idx ON public.api_keys (tenant_id) WHERE revoked_at IS NULL;

-- The compiled tenant migrations; public.create_tenant replays the newest script.
CREATE TABLE public.tenant_ddl (
    revision text NOT NULL,
    script text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_ddl_pkey PRIMARY KEY (revision)
);

-- One row. `role_prefix` is null if tenants have no roles. `unsigned_states_until` is over in a new
-- database, which has no live calls of an earlier release. `functions_release` is the release that
-- has installed the SQL functions.
CREATE TABLE public.deployment (
    only_one boolean NOT NULL DEFAULT true,
    environment text NOT NULL,
    public_base_url text NOT NULL,
    role_prefix text,
    web_login text NOT NULL,
    worker_login text NOT NULL,
    dialling_frozen_at timestamptz,
    unsigned_states_until timestamptz DEFAULT now(),
    functions_release text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT deployment_pkey PRIMARY KEY (only_one),
    CONSTRAINT deployment_only_one_check CHECK (only_one)
);

-- A later version applies from its date on.
CREATE TABLE public.plans (
    plan text NOT NULL,
    version integer NOT NULL,
    valid_from timestamptz NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT plans_pkey PRIMARY KEY (plan, version),
    CONSTRAINT plans_plan_check CHECK (plan IN ('starter', 'growth', 'custom'))
);

-- Each tenant's usage by month in one row. The ledger is in the tenants' schemas. A transaction
-- that writes to it locks the month's row, so that included units, thresholds and sums are decided
-- for one fact after the other.
CREATE TABLE public.usage_periods (
    period date NOT NULL,
    tenant_id uuid NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL,
    kinds jsonb NOT NULL,
    told jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_periods_pkey PRIMARY KEY (period, tenant_id)
);

-- The platform's webhooks, which receive the events of all tenants.
CREATE TABLE public.webhooks (
    id uuid NOT NULL,
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
    CONSTRAINT webhooks_disabled_reason_check CHECK (disabled_reason IN ('gone', 'failing'))
);

CREATE TABLE public.webhook_deliveries (
    id uuid NOT NULL,
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
    CONSTRAINT webhook_deliveries_webhook_id_event_id_key UNIQUE (webhook_id, event_id),
    CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('pending', 'delivered', 'failed')),
    CONSTRAINT webhook_deliveries_webhook_id_fkey
        FOREIGN KEY (webhook_id) REFERENCES public.webhooks (id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_webhook_id_next_attempt_at_created_at_idx
    ON public.webhook_deliveries (webhook_id, next_attempt_at, created_at)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_webhook_id_created_at_id_idx
    ON public.webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_created_at_idx ON public.webhook_deliveries (created_at);
CREATE INDEX webhook_deliveries_test_idx ON public.webhook_deliveries (webhook_id, created_at)
    WHERE type = 'webhook.test';

-- The platform's audit log; rows are inserted and read, and never changed. It also has the
-- operations on tenants from outside their schemas. Such rows outlive the tenant.
CREATE TABLE public.audit_entries (
    id uuid NOT NULL,
    tenant_id uuid,
    actor text NOT NULL,
    key_id uuid,
    key_prefix text,
    request_id text,
    operation text NOT NULL,
    object_type text,
    object_id uuid,
    changes jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_entries_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_entries_tenant_id_id_idx ON public.audit_entries (tenant_id, id);

-- Of requests that belong to no tenant.
CREATE TABLE public.idempotency_keys (
    id uuid NOT NULL,
    api_key text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status integer,
    headers jsonb NOT NULL DEFAULT '{}',
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (id),
    CONSTRAINT idempotency_keys_api_key_key_key UNIQUE (api_key, key)
);
CREATE INDEX idempotency_keys_created_at_idx ON public.idempotency_keys (created_at);

-- A bucket is stored as the time at which it will be full again, so a full bucket needs no row.
-- Half of each page is left free: an update stays in its page and changes no index.
CREATE TABLE public.rate_buckets (
    id uuid NOT NULL,
    full_at timestamptz NOT NULL,
    CONSTRAINT rate_buckets_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);

-- Concurrency slots of voice WebSockets, for all processes. Half of each page is left free, as
-- above.
CREATE TABLE public.relay_slots (
    id uuid NOT NULL,
    opened boolean DEFAULT false NOT NULL,
    ends_at timestamptz NOT NULL,
    CONSTRAINT relay_slots_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);

-- The last check of each language model, for all processes.
CREATE TABLE public.model_checks (
    endpoint text NOT NULL,
    model text NOT NULL,
    started_at timestamptz NOT NULL,
    checked_at timestamptz,
    support jsonb,
    failure text,
    CONSTRAINT model_checks_pkey PRIMARY KEY (endpoint, model)
);

-- A job may have a lane, which is its queue, and slots of its own. `due_at` is valid once a job is
-- ready, which means that it waits and `scheduled_at` is null.
ALTER TABLE jobs.procrastinate_jobs ADD COLUMN due_at timestamptz DEFAULT now();
-- The worker polls: a NOTIFY on every insert serialises commits.
ALTER TABLE jobs.procrastinate_jobs
    DISABLE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1,
    DISABLE TRIGGER procrastinate_trigger_status_events_insert_v1,
    DISABLE TRIGGER procrastinate_trigger_status_events_update_v1,
    DISABLE TRIGGER procrastinate_trigger_scheduled_events_v1,
    DISABLE TRIGGER procrastinate_trigger_abort_requested_events_v1;

-- The ready jobs of a lane by tenant, those that become ready later by time, and running jobs. Only
-- ready jobs are ordered by tenant: every tenant has jobs that are due in a day or a month.
CREATE INDEX procrastinate_jobs_ready_idx ON jobs.procrastinate_jobs (
    queue_name, (coalesce(args->>'tenant_id', 'platform') COLLATE "C"), priority DESC, id
) WHERE status = 'todo' AND scheduled_at IS NULL;
CREATE INDEX procrastinate_jobs_scheduled_idx ON jobs.procrastinate_jobs (queue_name, scheduled_at)
    WHERE status = 'todo' AND scheduled_at IS NOT NULL;
CREATE INDEX procrastinate_jobs_running_idx ON jobs.procrastinate_jobs (
    queue_name, (coalesce(args->>'tenant_id', 'platform') COLLATE "C")
) WHERE status = 'doing';

-- The tenant whose job a lane has taken last: tenants take turns.
CREATE TABLE jobs.lanes (
    name text NOT NULL,
    last_tenant text COLLATE "C" NOT NULL,
    CONSTRAINT lanes_pkey PRIMARY KEY (name)
);
