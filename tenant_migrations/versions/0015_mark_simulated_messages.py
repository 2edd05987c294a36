"""Mark existing messages from simulated calls.

It is in its own revision: the code needs the column, and runs on the revision before its head.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

MARK = """
UPDATE messages SET simulated = true
FROM calls WHERE calls.id = messages.call_id AND calls.simulated
"""


def upgrade() -> None:
    op.execute(MARK)
