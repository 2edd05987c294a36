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
from vca.tenancy.session import enter
from vca.tenant.privacy import erasing, ledger, mentions, requests
from vca.tenant.privacy.ledger import Entry
from vca.tenant.privacy.models import PrivacyRequest


def reapply(tenant: TenantRef, *, archived: UUID | None = None) -> list[UUID]:
    """Erase what the tenant's ledger says was erased; the erasures that there was something for.

    `archived`: the id that the tenant was exported under, where it is a copy under another. What
    was asked for and not done when the copy was made is ordered too. Raises StorageError.
    """
    known = list(ledger.entries(archived or tenant.id))
    spelt = mentions.numbers(tenant) if known else set()
    numbers = {number for number in spelt if phone.is_valid(number)}
    with enter(tenant) as session:
        _resume(session)
        again = [
            requests.place(
                session,
                tenant,
                kind="erasure",
                number=number,
                now=entry.asked_at,
                request_id=_id_of(tenant, entry),
            ).id
            for number, entry in _matches(archived or tenant.id, numbers, known)
        ]
    for request_id in again:
        erasing.erase(tenant, request_id=request_id)
    return again


def _matches(
    owner: UUID, numbers: Iterable[str], known: Iterable[Entry]
) -> Iterator[tuple[str, Entry]]:
    """Each number that was erased, with each of its erasures."""
    by_hash: dict[str, list[Entry]] = {}
    for entry in known:
        by_hash.setdefault(entry.number_hash, []).append(entry)
    for number in sorted(numbers):
        for hashed in ledger.hashes(owner, number):
            yield from ((number, entry) for entry in by_hash.get(hashed, ()))


def _resume(session: Session) -> None:
    """Order what waited in the copy, whose jobs were not in it."""
    waiting = PrivacyRequest.sealed_number.is_not(None)
    for row in session.scalars(select(PrivacyRequest).where(waiting)):
        requests.order(session, row)


def _id_of(tenant: TenantRef, entry: Entry) -> UUID:
    """The erasure's own id; under another tenant's id one that is always the same."""
    return entry.id if entry.tenant_id == tenant.id else uuid5(tenant.id, entry.id.hex)
