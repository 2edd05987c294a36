"""Repeat erasures after a restored backup or an imported archive has brought data back.

Every number in the database is hashed as in the ledger and compared. Only data from before the
original request is erased: somebody who has called since then is an ordinary caller.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import phone
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.privacy import erasure, erasure_ledger, requests, text_search
from vca.tenant.privacy.erasure_ledger import ErasureEntry
from vca.tenant.privacy.models import PrivacyRequest

REAPPLY_JOB = "privacy.reapply"


def reapply_erasures(
    tenant: TenantRef, *, services: Services, archived_tenant_id: UUID | None = None
) -> list[UUID]:
    """Repeat the erasures of the tenant's ledger; return the ids of those that found a number.

    `archived_tenant_id` is the id under which the tenant was exported, if it was imported under
    another one. Requests that were unfinished when the copy was made are scheduled too. Raise
    StorageError.
    """
    entries = list(erasure_ledger.read_entries(archived_tenant_id or tenant.id, services=services))
    numbers = text_search.list_numbers(tenant, services=services) if entries else set()
    with tenant_session(tenant, database=services.database) as session:
        _schedule_unfinished(session)
        request_ids = [
            requests.create_request(
                session,
                tenant,
                kind="erasure",
                number=number,
                now=entry.asked_at,
                request_id=_request_id_for(tenant, entry),
                services=services,
            ).id
            for number, entry in _matches(
                archived_tenant_id or tenant.id, numbers, entries, services=services
            )
        ]
    for request_id in request_ids:
        erasure.run_erasure(tenant, request_id=request_id, services=services)
    return request_ids


def _matches(
    ledger_tenant_id: UUID,
    numbers: Iterable[str],
    entries: Iterable[ErasureEntry],
    *,
    services: Services,
) -> Iterator[tuple[str, ErasureEntry]]:
    """Yield each erased number with each of its ledger entries.

    A number is found by its twins too: the copy may hold another spelling than was erased.
    """
    by_hash: dict[str, list[ErasureEntry]] = {}
    for entry in entries:
        by_hash.setdefault(entry.number_hash, []).append(entry)
    for number in sorted(set().union(*map(phone.twins, numbers))):
        for number_hash in erasure_ledger.number_hashes(
            ledger_tenant_id, number, services=services
        ):
            yield from ((number, entry) for entry in by_hash.get(number_hash, ()))


def _schedule_unfinished(session: Session) -> None:
    """Schedule the requests that were unfinished in the copy, which does not include their jobs."""
    is_unfinished = PrivacyRequest.sealed_number.is_not(None)
    for row in session.scalars(select(PrivacyRequest).where(is_unfinished)):
        requests.schedule(session, row)


def _request_id_for(tenant: TenantRef, entry: ErasureEntry) -> UUID:
    """Return the request id of the entry, or a derived, stable id if the tenant has another id."""
    return entry.id if entry.tenant_id == tenant.id else uuid5(tenant.id, entry.id.hex)
