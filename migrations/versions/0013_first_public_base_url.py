"""Let the worker record the deployment's first PUBLIC_BASE_URL, but never change it.

A deployment that was set up without a URL gets one when its first carrier is configured. The worker
records it, so that a copy of the database with another URL is recognised from then on.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

RECORD = """
CREATE FUNCTION public.record_first_public_base_url(p_url text)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.deployment SET public_base_url = p_url, updated_at = now()
    WHERE public_base_url = '';
$$;
"""


def upgrade() -> None:
    op.execute(RECORD)
