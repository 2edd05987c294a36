"""Schemas that an import has replaced; they are kept for a week.

The name of a replaced schema contains the tenant's id and the time of the replacement.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef

RETENTION = timedelta(days=7)
_REPLACED_NAME = re.compile(r"old_([0-9a-f]{32})_(\d{14})", re.ASCII)
_TIMESTAMP_FORMAT = "%Y%m%d%H%M%S"
_LIST_REPLACED = text(r"SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'old\_%'")


@dataclass(frozen=True)
class ReplacedSchema:
    """A replaced schema, its tenant, and when it was replaced."""

    name: str
    tenant: TenantRef
    replaced_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When the schema's retention ends."""
        return self.replaced_at + RETENTION

    def is_expired(self, now: datetime) -> bool:
        """Return whether the retention has ended."""
        return now > self.expires_at


def replaced_schema_name(tenant: TenantRef, now: datetime) -> str:
    """Return the name of a schema that is replaced at `now`: 51 bytes."""
    return f"old_{tenant.id.hex}_{now.astimezone(UTC).strftime(_TIMESTAMP_FORMAT)}"


def list_replaced_schemas(session: Session) -> list[ReplacedSchema]:
    """Return every replaced schema that still exists, by name."""
    return sorted(_parse_names(session.scalars(_LIST_REPLACED)), key=lambda schema: schema.name)


def list_replaced_schemas_of_tenant(session: Session, tenant: TenantRef) -> list[ReplacedSchema]:
    """Return the schemas that the tenant's current schema has replaced."""
    return [schema for schema in list_replaced_schemas(session) if schema.tenant == tenant]


def _parse_names(names: Iterable[str]) -> Iterable[ReplacedSchema]:
    for name in names:
        if (match := _REPLACED_NAME.fullmatch(name)) is None:
            continue
        replaced_at = datetime.strptime(match[2], _TIMESTAMP_FORMAT).replace(tzinfo=UTC)
        yield ReplacedSchema(name, TenantRef(UUID(match[1])), replaced_at)
