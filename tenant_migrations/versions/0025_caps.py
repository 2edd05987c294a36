"""Add the indexes that count what the caps limit, and find the calls of a profile's version."""

from alembic import op

revision = "0025"
down_revision = "0024"

TEST_EVENTS = """
CREATE INDEX webhook_deliveries_test_idx ON webhook_deliveries (webhook_id, created_at)
WHERE type = 'webhook.test'
"""
SIMULATED_TOKENS = """
CREATE INDEX usage_facts_simulated_idx ON usage_facts (occurred_at) INCLUDE (quantity)
WHERE kind = 'simulated_tokens'
"""
PRIVACY_REQUESTS = """
CREATE INDEX privacy_requests_kind_status_idx ON privacy_requests (kind, status)
"""
CALLS_BY_VERSION = """
CREATE INDEX calls_ai_profile_id_ai_profile_version_idx
ON calls (ai_profile_id, ai_profile_version)
"""


def upgrade() -> None:
    for statement in (TEST_EVENTS, SIMULATED_TOKENS, PRIVACY_REQUESTS, CALLS_BY_VERSION):
        op.execute(statement)
