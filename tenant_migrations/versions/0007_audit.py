"""Create the tenant's audit log; rows are inserted and read, and never changed.

Only adds: the code before this revision runs on it too.
"""

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0007"
down_revision = "0006"

ENTRIES = """
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
"""

GRANTS = """
GRANT SELECT, INSERT ON audit_entries TO {grantees};
"""


def upgrade() -> None:
    op.execute(ENTRIES.format(tenant=TENANT_SENTINEL))
    op.execute(GRANTS.format(grantees=GRANTEES_SENTINEL))
