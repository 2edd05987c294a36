"""Add how a simulated call differs from a real one: its clock, and how its transfers end."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute("ALTER TABLE calls ADD COLUMN simulation jsonb")
