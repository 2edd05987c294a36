"""Add the indexes that count what the caps of API keys and platform webhooks limit."""

from alembic import op

revision = "0017"
down_revision = "0016"

UNREVOKED_KEYS = """
CREATE INDEX api_keys_unrevoked_idx ON public.api_keys (tenant_id) WHERE revoked_at IS NULL
"""
TEST_EVENTS = """
CREATE INDEX webhook_deliveries_test_idx ON public.webhook_deliveries (webhook_id, created_at)
WHERE type = 'webhook.test'
"""


def upgrade() -> None:
    op.execute(UNREVOKED_KEYS)
    op.execute(TEST_EVENTS)
