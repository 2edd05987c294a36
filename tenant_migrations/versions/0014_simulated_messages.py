"""Messages say whether they were left in a simulated call, which is no business of the inbox."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN simulated boolean NOT NULL DEFAULT false")
