"""Set the status of the analyses of existing calls.

An analysis whose summary is gone was deleted with the transcript. Why a call was not analysed is
not known, so those calls get no reason. It is in its own revision: the code needs the columns, and
runs on the revision before its head.
"""

from alembic import op

revision = "0024"
down_revision = "0023"

SET_STATUS = """
UPDATE calls
SET analysis_status = CASE WHEN outcome = 'no_conversation' AND summary = '' THEN 'none'
        ELSE 'done' END,
    analysis_reason = CASE WHEN outcome = 'no_conversation' AND summary = '' THEN 'no_words'
        WHEN summary IS NULL THEN 'forgotten' END
WHERE analysed_at IS NOT NULL
"""


def upgrade() -> None:
    op.execute(SET_STATUS)
