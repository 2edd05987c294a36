"""Add the tool calls of a turn that were refused, with the reason."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("ALTER TABLE turns ADD COLUMN refused_tools jsonb NOT NULL DEFAULT '[]'")
