"""Create the platform's audit log; rows are inserted and read, and never changed.

It also has the operations on tenants from outside their schemas. Such rows outlive the tenant.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

ENTRIES = """
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
"""


def upgrade() -> None:
    op.execute(ENTRIES)
