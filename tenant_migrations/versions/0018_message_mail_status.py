"""Add what became of a message's mail; the status of older messages follows from `mailed_at`."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE messages ADD COLUMN mail_status text"
        " CONSTRAINT messages_mail_status_check"
        " CHECK (mail_status IN ('none', 'pending', 'sent', 'failed'))"
    )
