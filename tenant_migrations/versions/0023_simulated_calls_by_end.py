"""Add the index that finds the simulated calls to purge.

It is in its own revision: the code needs the column of the revision before, and runs on that one.
"""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute("CREATE INDEX calls_simulated_idx ON calls (ended_at) WHERE simulated")
