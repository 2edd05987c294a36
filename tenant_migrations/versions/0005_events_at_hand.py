"""Indexes for lists of events and deliveries, and for what is forgotten after thirty days."""

from alembic import op

revision = "0005"
down_revision = "0004"

INDEXES = """
CREATE INDEX events_created_at_id_idx ON events (created_at, id);
CREATE INDEX webhook_deliveries_webhook_id_created_at_id_idx
    ON webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_created_at_idx ON webhook_deliveries (created_at);
"""


def upgrade() -> None:
    op.execute(INDEXES)
