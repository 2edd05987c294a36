"""Store the schema's tenant as a type with one value, the tenant's id.

A table must be opened to be read, with its index. In a server process that has not read the schema
before, that takes half a millisecond. A value of a type only needs a catalogue look-up.
"""

from alembic import op

from vca.tenancy.schema import TENANT_SENTINEL

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(f"CREATE TYPE tenant_identity AS ENUM ('{TENANT_SENTINEL}')")
