"""Create, list, revoke and authenticate API keys."""

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.orm import Session

from vca.kit import crypto, db
from vca.kit.errors import DomainError, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry import caps
from vca.registry.api_keys.models import SCOPES, ApiKey
from vca.registry.rate_limits import buckets
from vca.registry.rate_limits.buckets import TokenRequests
from vca.registry.rate_limits.token_cache import AcquiredTokens

# vca_, 8 characters to look the key up by, 32 of base 62 (190 bits) and 6 of checksum. The checksum
# rejects guesses of scanners and incomplete pastes without a query.
_KEY_FORMAT = re.compile(r"vca_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", re.ASCII)
_PREFIX_LENGTH = 12
_NO_HASH = bytes(32)


class ScopeExceeded(DomainError):
    """A key cannot grant more scopes or a later expiry than it has."""

    status = 403
    code = "scope-exceeded"


@dataclass(frozen=True)
class AuthenticatedKey:
    """The API key of a request: its scopes, and the state of the tenant in the path, if any."""

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
        """Whether it is a platform key, which belongs to no tenant."""
        return self.tenant_id is None

    @property
    def scope_list(self) -> list[str]:
        """The scopes in their documented order."""
        return [scope for scope in SCOPES if scope in self.scopes]


_LISTING = Listing(ApiKey, (ApiKey.created_at, ApiKey.id))


class _KeyRow(NamedTuple):
    """The columns of the look-up query, in order."""

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
    key_tenant_status: str | None
    path_tenant_status: str | None
    path_tenant_revision: str | None


# One query reads the key, its tenant's status, and the status and revision of the tenant in the
# path.
_IS_VALID = "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())"
_COLUMNS = f"""
SELECT k.id, k.prefix, k.name, k.tenant_id, k.key_hash, k.scopes, k.expires_at, k.created_at,
       {_IS_VALID} AS valid,
       coalesce(k.last_used_at < now() - interval '10 minutes', true) AS stale,
       own.status AS own_status, asked.status AS asked_status,
       asked.schema_revision AS asked_revision
"""
_FROM_KEY = """
FROM public.api_keys k
LEFT JOIN public.tenants own ON own.id = k.tenant_id
LEFT JOIN public.tenants asked ON asked.id = %(asked)s
WHERE k.prefix = %(prefix)s
"""
_LOOK_UP = _COLUMNS + _FROM_KEY
# The whole key must be right, not only the prefix: others could use up the tokens otherwise.
_LOOK_UP_AND_ACQUIRE = f"""
{_COLUMNS}, CASE
    WHEN k.key_hash = ANY (%(hashes)s::bytea[]) AND {_IS_VALID}
        AND own.status IS DISTINCT FROM 'deleted'
    THEN ({buckets.SELECT_ACQUIRED})
END
{_FROM_KEY}
"""
_RECORD_USE = """
UPDATE public.api_keys SET last_used_at = now(), key_hash = %(hash)s
WHERE id = %(id)s
  AND (key_hash <> %(hash)s OR coalesce(last_used_at < now() - interval '10 minutes', true))
RETURNING id
"""


def authenticate(
    connection: Connection, *, presented: str, peppers: Sequence[str], path_tenant_id: UUID | None
) -> AuthenticatedKey | None:
    """Return the key that was presented, or None for every kind of invalid key.

    It is one autocommitted read. Nothing is cached, so revocation is effective immediately. Once in
    ten minutes it also records the use, and rehashes the key with the newest pepper. Recording it
    each minute would be a write for every third request when thousands of tenants send few
    requests.
    """
    key, _ = authenticate_and_acquire(
        connection, presented=presented, peppers=peppers, path_tenant_id=path_tenant_id, requests=()
    )
    return key


def authenticate_and_acquire(
    connection: Connection,
    *,
    presented: str,
    peppers: Sequence[str],
    path_tenant_id: UUID | None,
    requests: TokenRequests,
) -> tuple[AuthenticatedKey | None, AcquiredTokens | None]:
    """Do as `authenticate` does, and acquire tokens in the same statement if the key is valid.

    Returns the key, and what was acquired, or None if nothing was requested.
    """
    if not _is_well_formed(presented):
        return None, None
    hashes = [crypto.keyed_hash(pepper, presented) for pepper in peppers]
    row = _look_up(connection, presented[:_PREFIX_LENGTH], hashes, path_tenant_id, requests)
    key_row = _KeyRow._make(row[: len(_KeyRow._fields)]) if row is not None else None
    stored = bytes(key_row.key_hash) if key_row is not None else _NO_HASH
    matches = [crypto.equal(candidate, stored) for candidate in hashes]
    if (
        key_row is None
        or not any(matches)
        or not key_row.valid
        or key_row.key_tenant_status == "deleted"
    ):
        return None, None
    if key_row.stale or not matches[0]:
        db.fetch_one(connection, _RECORD_USE, {"id": key_row.id, "hash": hashes[0]})
    key = AuthenticatedKey(
        key_row.id,
        key_row.prefix,
        key_row.name,
        key_row.tenant_id,
        frozenset(key_row.scopes),
        key_row.expires_at,
        key_row.created_at,
        key_row.path_tenant_status,
        key_row.path_tenant_revision,
    )
    grants = row[-1] if row is not None and requests else None
    return key, grants and AcquiredTokens(requests, buckets.read_grants(grants))


def _look_up(
    connection: Connection,
    prefix: str,
    hashes: Sequence[bytes],
    path_tenant_id: UUID | None,
    requests: TokenRequests,
) -> tuple[Any, ...] | None:
    parameters = {"prefix": prefix, "asked": path_tenant_id.hex if path_tenant_id else None}
    if not requests:
        return db.fetch_one_prepared(connection, _LOOK_UP, parameters)
    elements = ",".join(f'"\\\\x{candidate.hex()}"' for candidate in hashes)
    parameters |= {"hashes": f"{{{elements}}}", **buckets.acquire_parameters(requests)}
    return db.fetch_one_prepared(connection, _LOOK_UP_AND_ACQUIRE, parameters)


def create(
    session: Session,
    *,
    name: str,
    pepper: str,
    tenant_id: UUID | None,
    scopes: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    granted_by: AuthenticatedKey | None = None,
) -> tuple[ApiKey, str]:
    """Create a key of a tenant, or a platform key if `tenant_id` is None; return (row, key).

    The key's text is available only here. Without `scopes` the key gets all scopes of `granted_by`,
    or all scopes that exist if it is created from the command line, where no caps apply. Raises
    ScopeExceeded and LimitReached.
    """
    granted_scopes = (
        set(scopes) if scopes is not None else set(granted_by.scopes if granted_by else SCOPES)
    )
    if granted_by is not None:
        expires_at = _check_grant(granted_by, granted_scopes, expires_at)
        _check_caps(session, tenant_id)
    key = _new_key()
    row = ApiKey(
        id=uuid4(),
        tenant_id=tenant_id,
        prefix=key[:_PREFIX_LENGTH],
        key_hash=crypto.keyed_hash(pepper, key),
        name=name,
        scopes=[scope for scope in SCOPES if scope in granted_scopes],
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return row, key


def list_page(session: Session, *, tenant_id: UUID | None, page: PageRequest) -> Page:
    """Return a page of keys of a tenant, or of the platform, including revoked ones."""
    return _LISTING.page(session, page, {"tenant_id": tenant_id})


def get(session: Session, *, key_id: UUID) -> ApiKey:
    """Return the key's row, of any owner; raise NotFound."""
    row = session.get(ApiKey, key_id)
    if row is None:
        raise NotFound
    return row


def revoke(session: Session, *, tenant_id: UUID | None, key_id: UUID, now: datetime) -> ApiKey:
    """Revoke a key immediately; revoking it again changes nothing. Raises NotFound."""
    row = session.get(ApiKey, key_id, with_for_update=True)
    if row is None or row.tenant_id != tenant_id:
        raise NotFound
    row.revoked_at = row.revoked_at or now
    session.flush()
    return row


def _check_caps(session: Session, tenant_id: UUID | None) -> None:
    """Raise LimitReached for too many keys of the owner.

    Revoked keys stay on record, so the keys of a day are limited too.
    """
    keys, owner = select(ApiKey.id).where(ApiKey.tenant_id == tenant_id), str(tenant_id)
    is_unexpired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    active_keys = keys.where(ApiKey.revoked_at.is_(None), is_unexpired)
    caps.require_capacity(session, "api_keys", active_keys, owner=owner)
    keys_of_day = keys.where(ApiKey.created_at > func.now() - timedelta(days=1))
    caps.require_capacity(session, "api_keys_per_day", keys_of_day, owner=owner)


def _check_grant(
    granted_by: AuthenticatedKey, scopes: set[str], expires_at: datetime | None
) -> datetime | None:
    if not scopes <= granted_by.scopes:
        missing = ", ".join(sorted(scopes - granted_by.scopes))
        raise ScopeExceeded(f"This API key cannot grant scopes that it does not have: {missing}.")
    if granted_by.expires_at is None:
        return expires_at
    if expires_at is not None and expires_at > granted_by.expires_at:
        raise ScopeExceeded("The new key cannot expire after the key that creates it.")
    return expires_at or granted_by.expires_at


def _new_key() -> str:
    body = f"vca_{crypto.random_text(8)}_{crypto.random_text(32)}"
    return f"{body}_{_checksum(body)}"


def _is_well_formed(presented: str) -> bool:
    body, _, checksum = presented.rpartition("_")
    return _KEY_FORMAT.fullmatch(presented) is not None and checksum == _checksum(body)


def _checksum(body: str) -> str:
    """Return the CRC-32 of the key in six characters of base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, remainder = divmod(number, 62)
        digits = crypto.ALPHABET[remainder] + digits
    return digits
