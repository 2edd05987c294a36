"""Whose the schema is, as a type whose one value is the tenant's id.

A table has to be opened to be read, with its index: for a server process that has not been here
before that is half a millisecond. To say a value of a type is a look at the catalogue.
"""

from alembic import op

from vca.tenancy.schema import TENANT_SENTINEL

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(f"CREATE TYPE tenant_identity AS ENUM ('{TENANT_SENTINEL}')")
