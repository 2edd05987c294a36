"""Add decision webhooks of phone numbers: their URL and their signing secret.

Only adds: the code before this revision runs on it too.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

COLUMNS = """
ALTER TABLE phone_numbers ADD COLUMN decision_url text;
ALTER TABLE phone_numbers ADD COLUMN decision_secret bytea;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
