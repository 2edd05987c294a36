"""Add indexes for listing and purging webhook events.

They are in their own revision: the code needs the tables, and runs on the revision before its head.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

INDEXES = """
CREATE INDEX webhook_deliveries_webhook_id_created_at_id_idx
    ON webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_created_at_idx ON webhook_deliveries (created_at);
CREATE INDEX events_created_at_id_idx ON events (created_at, id);
"""


def upgrade() -> None:
    op.execute(INDEXES)
