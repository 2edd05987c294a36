"""Erase again what a copy of the database has brought back: a restored backup, an old archive.

Every number that the copy knows is hashed as the ledger hashes, and compared. Only what was there
when the erasure was asked for goes: who calls again after it is a caller as any other.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import phone
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.privacy import erasure, erasure_ledger, requests, text_search
from vca.tenant.privacy.erasure_ledger import ErasureEntry
from vca.tenant.privacy.models import PrivacyRequest


def reapply_erasures(tenant: TenantRef, *, archived_tenant_id: UUID | None = None) -> list[UUID]:
    """Erase what the tenant's ledger says was erased; the erasures that there was something for.

    `archived`: the id that the tenant was exported under, where it is a copy under another. What
    was asked for and not done when the copy was made is ordered too. Raises StorageError.
    """
    entries = list(erasure_ledger.read_entries(archived_tenant_id or tenant.id))
    mentioned_numbers = text_search.list_numbers(tenant) if entries else set()
    numbers = {number for number in mentioned_numbers if phone.is_valid(number)}
    with tenant_session(tenant) as session:
        _schedule_unfinished(session)
        request_ids = [
            requests.create_request(
                session,
                tenant,
                kind="erasure",
                number=number,
                now=entry.asked_at,
                request_id=_request_id_for(tenant, entry),
            ).id
            for number, entry in _matches(archived_tenant_id or tenant.id, numbers, entries)
        ]
    for request_id in request_ids:
        erasure.run_erasure(tenant, request_id=request_id)
    return request_ids


def _matches(
    ledger_tenant_id: UUID, numbers: Iterable[str], entries: Iterable[ErasureEntry]
) -> Iterator[tuple[str, ErasureEntry]]:
    """Each number that was erased, with each of its erasures."""
    by_hash: dict[str, list[ErasureEntry]] = {}
    for entry in entries:
        by_hash.setdefault(entry.number_hash, []).append(entry)
    for number in sorted(numbers):
        for number_hash in erasure_ledger.number_hashes(ledger_tenant_id, number):
            yield from ((number, entry) for entry in by_hash.get(number_hash, ()))


def _schedule_unfinished(session: Session) -> None:
    """Order what waited in the copy, whose jobs were not in it."""
    is_unfinished = PrivacyRequest.sealed_number.is_not(None)
    for row in session.scalars(select(PrivacyRequest).where(is_unfinished)):
        requests.schedule(session, row)


def _request_id_for(tenant: TenantRef, entry: ErasureEntry) -> UUID:
    """The erasure's own id; under another tenant's id one that is always the same."""
    return entry.id if entry.tenant_id == tenant.id else uuid5(tenant.id, entry.id.hex)
