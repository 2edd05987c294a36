"""Create privacy requests, exports and erasures of a caller's data, and redaction of profiles.

Only adds: the code before this revision runs on it too.
"""

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0010"
down_revision = "0009"

COLUMNS = """
ALTER TABLE ai_profiles ADD COLUMN redaction jsonb NOT NULL DEFAULT '{}';
"""

TABLES = """
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
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON privacy_requests TO {grantees};
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(TABLES.format(tenant=TENANT_SENTINEL))
    op.execute(GRANTS.format(grantees=GRANTEES_SENTINEL))
