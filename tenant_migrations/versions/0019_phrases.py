"""Add a tenant's own texts for VCA's sentences, by language."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("ALTER TABLE settings ADD COLUMN phrases jsonb NOT NULL DEFAULT '{}'")
