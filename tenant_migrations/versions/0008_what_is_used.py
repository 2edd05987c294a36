"""Create the usage ledger, the spend cap, and what a live call has reserved of it.

Facts are never changed and never deleted: there is no grant for it. Only adds: the code before this
revision runs on it too.
"""

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0008"
down_revision = "0007"

COLUMNS = """
ALTER TABLE settings ADD COLUMN spend_cap bigint;

ALTER TABLE calls
    ADD COLUMN output_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN reserved bigint NOT NULL DEFAULT 0;
"""

TABLE = """
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
"""

GRANTS = "GRANT SELECT, INSERT ON usage_facts TO {grantees}"


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(TABLE.format(tenant=TENANT_SENTINEL))
    op.execute(GRANTS.format(grantees=GRANTEES_SENTINEL))
