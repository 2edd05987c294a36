"""Add how a simulated call differs from a real one: its clock, and how its transfers end."""

from alembic import op

revision = "0021"
down_revision = "0015"


def upgrade() -> None:
    op.execute("ALTER TABLE calls ADD COLUMN simulation jsonb")
