"""Add the index that finds an account's numbers.

It is in its own revision: the code needs the column, and runs on the revision before its head.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

INDEX = (
    "CREATE INDEX phone_numbers_telephony_account_id_idx ON phone_numbers (telephony_account_id)"
)


def upgrade() -> None:
    op.execute(INDEX)
