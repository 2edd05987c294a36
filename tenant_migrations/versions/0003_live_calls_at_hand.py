"""Add indexes for queries that delay a response: live calls, and the calls of a number."""

from alembic import op

revision = "0003"
down_revision = "0002"

INDEXES = """
CREATE INDEX calls_live_idx ON calls (started_at)
    WHERE status IN ('queued', 'ringing', 'in_progress', 'transferring');
CREATE INDEX calls_phone_number_id_started_at_idx ON calls (phone_number_id, started_at);
CREATE INDEX calls_caller_number_started_at_idx ON calls (caller_number, started_at);
CREATE INDEX messages_call_id_idx ON messages (call_id);
CREATE INDEX recordings_delete_after_idx ON recordings (delete_after) WHERE status = 'stored';
"""


def upgrade() -> None:
    op.execute(INDEXES)
