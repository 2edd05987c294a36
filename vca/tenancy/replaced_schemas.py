"""Schemas that an import has replaced, kept for a week; their names say whose and since when."""

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
    """A replaced schema: whose it was, and since when nobody uses it."""

    name: str
    tenant: TenantRef
    replaced_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When it has been kept for its week."""
        return self.replaced_at + RETENTION

    def is_expired(self, now: datetime) -> bool:
        """Whether that is over."""
        return now > self.expires_at


def replaced_schema_name(tenant: TenantRef, now: datetime) -> str:
    """What a schema is called from `now` on: 51 bytes."""
    return f"old_{tenant.id.hex}_{now.astimezone(UTC).strftime(_TIMESTAMP_FORMAT)}"


def list_replaced_schemas(session: Session) -> list[ReplacedSchema]:
    """Every replaced schema that is still there, by name."""
    return sorted(_parse_names(session.scalars(_LIST_REPLACED)), key=lambda schema: schema.name)


def list_replaced_schemas_of_tenant(session: Session, tenant: TenantRef) -> list[ReplacedSchema]:
    """Those that the tenant's present schema has replaced."""
    return [schema for schema in list_replaced_schemas(session) if schema.tenant == tenant]


def _parse_names(names: Iterable[str]) -> Iterable[ReplacedSchema]:
    for name in names:
        if (match := _REPLACED_NAME.fullmatch(name)) is None:
            continue
        replaced_at = datetime.strptime(match[2], _TIMESTAMP_FORMAT).replace(tzinfo=UTC)
        yield ReplacedSchema(name, TenantRef(UUID(match[1])), replaced_at)
