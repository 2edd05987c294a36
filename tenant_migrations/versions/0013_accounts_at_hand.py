"""The index by which an account's numbers are found.

Apart from the column, which the code needs: it runs on the revision before its newest.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

INDEX = (
    "CREATE INDEX phone_numbers_telephony_account_id_idx ON phone_numbers (telephony_account_id)"
)


def upgrade() -> None:
    op.execute(INDEX)
