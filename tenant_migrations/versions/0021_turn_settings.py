"""Add turn settings of AI profiles, and the language and the voice WebSocket of calls.

`websocket_offer` is the slot in the token of a call's last voice WebSocket, `websocket_slot` the
slot of its current connection: they differ once the carrier has reconnected.
"""

from alembic import op

revision = "0021"
down_revision = "0020"

PROFILES = "ALTER TABLE ai_profiles ADD COLUMN turn jsonb NOT NULL DEFAULT '{}'"
CALLS = """
ALTER TABLE calls
    ADD COLUMN spoken_language jsonb,
    ADD COLUMN websocket_offer uuid,
    ADD COLUMN websocket_slot uuid
"""


def upgrade() -> None:
    op.execute(PROFILES)
    op.execute(CALLS)
