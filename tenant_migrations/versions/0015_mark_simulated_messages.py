"""Mark the messages that simulated calls have left so far.

Apart from the column, which the code needs: it runs on the revision before its newest.
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
