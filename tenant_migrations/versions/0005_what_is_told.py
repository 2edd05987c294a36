"""Create webhook events, webhooks and deliveries.

Only adds: the code before this revision runs on it too.
"""

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0005"
down_revision = "0004"

TABLES = """
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
    CONSTRAINT webhook_deliveries_webhook_id_event_id_key UNIQUE (webhook_id, event_id),
    CONSTRAINT webhook_deliveries_webhook_id_fkey
        FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE,
    CONSTRAINT webhook_deliveries_tenant_id_check CHECK (tenant_id = '{tenant}'),
    CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('pending', 'delivered', 'failed'))
);
CREATE INDEX webhook_deliveries_webhook_id_next_attempt_at_created_at_idx
    ON webhook_deliveries (webhook_id, next_attempt_at, created_at)
    WHERE status = 'pending';
"""

GRANTS = """
GRANT SELECT, INSERT, DELETE ON events TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks TO {grantees};
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries TO {grantees};
"""


def upgrade() -> None:
    op.execute(TABLES.format(tenant=TENANT_SENTINEL))
    op.execute(GRANTS.format(grantees=GRANTEES_SENTINEL))
