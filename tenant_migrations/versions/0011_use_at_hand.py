"""The index that use is listed by.

Apart from the table, which the code needs: it runs on the revision before its newest.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

INDEX = "CREATE INDEX usage_facts_occurred_at_idx ON usage_facts (occurred_at)"


def upgrade() -> None:
    op.execute(INDEX)
