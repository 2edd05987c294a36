"""The declarative base of the public schema; every table name is qualified."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase

from vca.kit import db


@dataclass(frozen=True)
class TenantRows:
    """What happens to a tenant's rows of a table of `public`; declared as `__tenant_rows__`.

    Archives of the tenant contain the rows if they are `archived`. The purge of the tenant deletes
    them, unless they are the platform's (`purged` false).
    """

    archived: bool
    purged: bool


class PublicBase(DeclarativeBase):
    """A table of `public`, the same one in the transactions of all tenants.

    A table with a column `tenant_id` must have `__tenant_rows__`.
    """

    metadata = db.metadata("public")


def tables_of_tenants() -> list[tuple[Table, TenantRows]]:
    """Return each table with rows of tenants, by name; raise AttributeError for an undeclared one.

    The tables are those of the loaded models.
    """
    models = {
        cast(Table, mapper.local_table): mapper.class_ for mapper in PublicBase.registry.mappers
    }
    return [
        (table, models[table].__tenant_rows__)
        for table in sorted(models, key=lambda table: table.name)
        if "tenant_id" in table.c
    ]
