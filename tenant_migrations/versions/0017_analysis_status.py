"""Add the status of a call's post-call analysis, and the reason why there is none."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE calls ADD COLUMN analysis_status text NOT NULL DEFAULT 'none',"
        " ADD COLUMN analysis_reason text"
    )
