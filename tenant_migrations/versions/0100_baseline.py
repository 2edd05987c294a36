"""Create the tables of a tenant, the rows that they begin with, and their grants."""

import re
from pathlib import Path

from alembic import op

from vca.tenancy.schema import GRANTEES_SENTINEL, TENANT_SENTINEL

revision = "0100"
down_revision = None

_COMMENTS = re.compile(r"^ *--.*\n", re.MULTILINE)


def upgrade() -> None:
    tables = (Path(__file__).parents[1] / "baseline.sql").read_text()
    # The script runs for every new tenant, so it has no comments.
    script = _COMMENTS.sub("", tables)
    op.execute(script.replace("{tenant}", TENANT_SENTINEL).replace("{grantees}", GRANTEES_SENTINEL))
