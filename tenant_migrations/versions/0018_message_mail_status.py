"""Add what became of a message's mail; the status of older messages follows from `mailed_at`."""

from alembic import op

revision = "0018"
down_revision = "0017"

# Two statements: Citus adds no constraint together with a column.
COLUMN = "ALTER TABLE messages ADD COLUMN mail_status text"
CHECK = """
ALTER TABLE messages ADD CONSTRAINT messages_mail_status_check
    CHECK (mail_status IN ('none', 'pending', 'sent', 'failed'))
"""


def upgrade() -> None:
    op.execute(COLUMN)
    op.execute(CHECK)
