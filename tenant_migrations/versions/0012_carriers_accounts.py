"""Create a tenant's telephony accounts, and references of numbers, calls and recordings to them.

Only adds: the code before this revision runs on it too.
"""

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0012"
down_revision = "0011"

TABLE = """
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
"""

# Calls and recordings have no foreign key: they outlive a deleted account.
COLUMNS = """
ALTER TABLE phone_numbers
    ADD COLUMN telephony_account_id uuid,
    ADD COLUMN previous_carrier jsonb;
ALTER TABLE phone_numbers
    ADD CONSTRAINT phone_numbers_telephony_account_id_fkey
    FOREIGN KEY (telephony_account_id) REFERENCES telephony_accounts (id);
ALTER TABLE calls ADD COLUMN telephony_account_id uuid;
ALTER TABLE recordings ADD COLUMN telephony_account_id uuid;
"""

GRANTS = "GRANT SELECT, INSERT, UPDATE, DELETE ON telephony_accounts TO {grantees}"


def upgrade() -> None:
    op.execute(TABLE.format(tenant=TENANT_SENTINEL))
    op.execute(COLUMNS)
    op.execute(GRANTS.format(grantees=GRANTEES_SENTINEL))
