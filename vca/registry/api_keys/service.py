"""Make, list, revoke and recognise API keys."""

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from vca.kit import crypto, db
from vca.kit.errors import DomainError, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.api_keys.models import SCOPES, ApiKey

# vca_ + 8 to look it up by + 32 of base 62 (190 bits) + 6 of checksum, so that a scanner or a
# careless paste is told apart without asking the database.
_SHAPE = re.compile(r"vca_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", re.ASCII)
_PREFIX_LENGTH = 12
_USED_EVERY = timedelta(minutes=1)
_NO_HASH = bytes(32)


class ScopeExceeded(DomainError):
    """A key grants no more scope or life than it has."""

    status = 403
    code = "scope-exceeded"


@dataclass(frozen=True)
class Caller:
    """Who is asking: a key, what it may do, and the tenant of the path if there is one."""

    key_id: UUID
    prefix: str
    name: str
    tenant_id: UUID | None
    scopes: frozenset[str]
    expires_at: datetime | None
    created_at: datetime
    path_tenant_status: str | None
    path_tenant_revision: str | None

    @property
    def is_platform(self) -> bool:
        return self.tenant_id is None

    @property
    def scope_list(self) -> list[str]:
        return [scope for scope in SCOPES if scope in self.scopes]


_LISTING = Listing(ApiKey, (ApiKey.created_at, ApiKey.id))


class _Kept(NamedTuple):
    """What the look-up reads, in its order."""

    id: UUID
    prefix: str
    name: str
    tenant_id: UUID | None
    key_hash: memoryview
    scopes: list[str]
    expires_at: datetime | None
    created_at: datetime
    valid: bool
    stale: bool
    own_status: str | None
    asked_status: str | None
    asked_revision: str | None


# One read answers who asks, and what state the tenant is in that is asked about, and its schema.
_LOOK_UP = """
SELECT k.id, k.prefix, k.name, k.tenant_id, k.key_hash, k.scopes, k.expires_at, k.created_at,
       k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS valid,
       coalesce(k.last_used_at < now() - interval '10 minutes', true) AS stale,
       own.status AS own_status, asked.status AS asked_status,
       asked.schema_revision AS asked_revision
FROM public.api_keys k
LEFT JOIN public.tenants own ON own.id = k.tenant_id
LEFT JOIN public.tenants asked ON asked.id = %(asked)s
WHERE k.prefix = %(prefix)s
"""
_TOUCH = """
UPDATE public.api_keys SET last_used_at = now(), key_hash = %(hash)s
WHERE id = %(id)s
  AND (key_hash <> %(hash)s OR coalesce(last_used_at < now() - interval '10 minutes', true))
RETURNING id
"""


def recognise(
    connection: Connection, *, presented: str, peppers: Sequence[str], asked: UUID | None
) -> Caller | None:
    """The caller behind a presented key, or None for every kind of bad key alike.

    One autocommitted read; revocation is effective at once because nothing is cached. Once in ten
    minutes it also notes the use, and moves the hash to the newest pepper: each minute would be a
    write for every third request when thousands of tenants ask now and then.
    """
    if not _well_formed(presented):
        return None
    sought = {"prefix": presented[:_PREFIX_LENGTH], "asked": asked.hex if asked else None}
    row = db.run_one(connection, _LOOK_UP, sought)
    kept = _Kept._make(row) if row is not None else None
    stored = bytes(kept.key_hash) if kept is not None else _NO_HASH
    hashes = [crypto.keyed_hash(pepper, presented) for pepper in peppers]
    matches = [crypto.equal(candidate, stored) for candidate in hashes]
    if kept is None or not any(matches) or not kept.valid or kept.own_status == "deleted":
        return None
    if kept.stale or not matches[0]:
        db.run_one(connection, _TOUCH, {"id": kept.id, "hash": hashes[0]})
    return Caller(
        kept.id,
        kept.prefix,
        kept.name,
        kept.tenant_id,
        frozenset(kept.scopes),
        kept.expires_at,
        kept.created_at,
        kept.asked_status,
        kept.asked_revision,
    )


def create(
    session: Session,
    *,
    name: str,
    pepper: str,
    tenant_id: UUID | None,
    scopes: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    granted_by: Caller | None = None,
) -> tuple[ApiKey, str]:
    """Make a key of a tenant, or of the platform with `tenant_id=None`; its text is known only now.

    Without `scopes` it may do all that the granting key may (from the command line: everything).
    Raises ScopeExceeded.
    """
    wanted = set(scopes) if scopes is not None else set(granted_by.scopes if granted_by else SCOPES)
    if granted_by is not None:
        expires_at = _within_grant(granted_by, wanted, expires_at)
    key = _new_key()
    row = ApiKey(
        id=uuid4(),
        tenant_id=tenant_id,
        prefix=key[:_PREFIX_LENGTH],
        key_hash=crypto.keyed_hash(pepper, key),
        name=name,
        scopes=[scope for scope in SCOPES if scope in wanted],
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return row, key


def list_page(session: Session, *, tenant_id: UUID | None, page: PageRequest) -> Page:
    """The keys of a tenant, or of the platform, revoked ones too."""
    return _LISTING.page(session, page, {"tenant_id": tenant_id})


def get(session: Session, *, key_id: UUID) -> ApiKey:
    """The key's row, whoever's it is; raises NotFound."""
    row = session.get(ApiKey, key_id)
    if row is None:
        raise NotFound
    return row


def revoke(session: Session, *, tenant_id: UUID | None, key_id: UUID, now: datetime) -> ApiKey:
    """Make a key useless at once; revoking it again changes nothing. Raises NotFound."""
    row = session.get(ApiKey, key_id, with_for_update=True)
    if row is None or row.tenant_id != tenant_id:
        raise NotFound
    row.revoked_at = row.revoked_at or now
    session.flush()
    return row


def _within_grant(
    granted_by: Caller, wanted: set[str], expires_at: datetime | None
) -> datetime | None:
    if not wanted <= granted_by.scopes:
        missing = ", ".join(sorted(wanted - granted_by.scopes))
        raise ScopeExceeded(f"The key that grants has no scope {missing} itself.")
    if granted_by.expires_at is None:
        return expires_at
    if expires_at is not None and expires_at > granted_by.expires_at:
        raise ScopeExceeded("The key that grants expires before the time asked for.")
    return expires_at or granted_by.expires_at


def _new_key() -> str:
    body = f"vca_{crypto.random_text(8)}_{crypto.random_text(32)}"
    return f"{body}_{_checksum(body)}"


def _well_formed(presented: str) -> bool:
    body, _, checksum = presented.rpartition("_")
    return _SHAPE.fullmatch(presented) is not None and checksum == _checksum(body)


def _checksum(body: str) -> str:
    """CRC-32 in six characters of base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = crypto.ALPHABET[rest] + digits
    return digits
