"""Schemas that an import has replaced, kept for a week; their names say whose and since when."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef

KEEP = timedelta(days=7)
_NAME = re.compile(r"old_([0-9a-f]{32})_(\d{14})", re.ASCII)
_SINCE = "%Y%m%d%H%M%S"
_SCHEMAS = text(r"SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'old\_%'")


@dataclass(frozen=True)
class KeptSchema:
    """A replaced schema: whose it was, and since when nobody uses it."""

    name: str
    tenant: TenantRef
    since: datetime

    @property
    def until(self) -> datetime:
        """When it has been kept for its week."""
        return self.since + KEEP

    def expired(self, now: datetime) -> bool:
        """Whether that is over."""
        return now > self.until


def kept_name(tenant: TenantRef, now: datetime) -> str:
    """What a schema is called from `now` on: 51 bytes."""
    return f"old_{tenant.id.hex}_{now.astimezone(UTC).strftime(_SINCE)}"


def kept(session: Session) -> list[KeptSchema]:
    """Every replaced schema that is still there, by name."""
    return sorted(_parsed(session.scalars(_SCHEMAS)), key=lambda schema: schema.name)


def kept_of(session: Session, tenant: TenantRef) -> list[KeptSchema]:
    """Those that the tenant's present schema has replaced."""
    return [schema for schema in kept(session) if schema.tenant == tenant]


def _parsed(names: Iterable[str]) -> Iterable[KeptSchema]:
    for name in names:
        if (match := _NAME.fullmatch(name)) is None:
            continue
        since = datetime.strptime(match[2], _SINCE).replace(tzinfo=UTC)
        yield KeptSchema(name, TenantRef(UUID(match[1])), since)
