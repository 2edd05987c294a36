"""Add the index for listing usage.

It is in its own revision: the code needs the table, and runs on the revision before its head.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

INDEX = "CREATE INDEX usage_facts_occurred_at_idx ON usage_facts (occurred_at)"


def upgrade() -> None:
    op.execute(INDEX)
