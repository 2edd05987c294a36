"""Add whether a message was left in a simulated call; the inbox leaves such messages out."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN simulated boolean NOT NULL DEFAULT false")
