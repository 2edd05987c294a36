"""Claim and release numbers; find whose a number is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, func, select, true
from sqlalchemy.orm import Session

from vca.kit import db, deeds, disclosure, jobs
from vca.kit.errors import Conflict, DomainError, InvalidInput, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.dids.models import Did, DidMiss
from vca.telephony.types import CarrierRef
from vca.tenancy.schema import TenantRef

REST = timedelta(days=30)
ANOTHERS = UUID(int=0)  # what a tenant is told of a phone number that is another's
# "proven": as open, since the tenant's own account with the carrier has the number.
Terms = Literal["open", "assigned", "proven", "platform"]


class NumberAlreadyClaimed(Conflict):
    """Somebody has the number; the answer never says who."""

    code = "number-already-claimed"

    def __init__(self) -> None:
        super().__init__("This number is taken.")


class NumberNotAssigned(DomainError):
    """This deployment lets tenants claim only numbers that were assigned to them."""

    status = 403
    code = "number-not-assigned"

    def __init__(self) -> None:
        super().__init__("This number is not assigned to the tenant.")


@dataclass(frozen=True)
class Registration:
    """What the registry keeps of a number's carrier, as the number's row has it.

    `previous`: where it was before it moved, and whence it may ring until `previous_until`.
    """

    carrier: CarrierRef
    status: str
    previous: CarrierRef | None = None
    previous_until: datetime | None = None


@dataclass(frozen=True)
class Owner:
    """Whose a called number is, whether it may route, what revision the schema is at; the plan.

    `plan_limits`: what the plan allows at once. `carriers`: whence it may ring at this moment, its
    own first; none for a transaction inside a tenant.
    """

    tenant: TenantRef
    tenant_status: str
    phone_number_id: UUID | None
    rests_until: datetime | None
    schema_revision: str
    plan: str
    plan_limits: Mapping[str, int]
    carriers: tuple[CarrierRef, ...] = ()


# What an order to a carrier names.
_ORDERED = ("tenant_id", "phone_number_id", "did_number", "provider_type", "telephony_account_id")
_LISTING = Listing(Did, (Did.did_number,))
_FIND_OWNER = """
SELECT d.tenant_id, t.status AS tenant_status, d.phone_number_id, d.state, d.rests_until,
       t.schema_revision, t.plan,
       (SELECT p.document->'limits' FROM public.plans p
        WHERE p.plan = t.plan AND p.valid_from <= now()
        ORDER BY p.valid_from DESC, p.version DESC LIMIT 1) AS plan_limits,
       d.provider_type, d.telephony_account_id,
       CASE WHEN d.previous_until > now() THEN d.previous_provider_type END, d.previous_account_id
FROM public.dids d JOIN public.tenants t ON t.id = d.tenant_id
WHERE d.did_number = %(number)s
"""


def claim(
    session: Session, *, number: str, phone_number_id: UUID, carrier: CarrierRef, terms: Terms
) -> None:
    """Make `number` the session's tenant's own; the database decides races.

    Raises NumberAlreadyClaimed, and NumberNotAssigned under `terms="assigned"`.
    """
    provider_type, account_id = carrier.provider_type, carrier.account_id
    call = func.public.claim_did(number, phone_number_id, provider_type, account_id, terms)
    outcome = session.scalar(select(call))
    if outcome == "taken":
        raise NumberAlreadyClaimed
    if outcome == "unassigned":
        raise NumberNotAssigned


def release(session: Session, *, number: str, rest: timedelta = REST) -> None:
    """Let the session's tenant's number go: it stops routing, and rests for a while."""
    session.execute(select(func.public.release_did(number, rest)))


def note(
    session: Session, *, number: str, phone_number_id: UUID, registration: Registration
) -> None:
    """Keep the registry's copy of how the session's tenant's number rings and is registered."""
    carrier, previous = registration.carrier, registration.previous
    call = func.public.note_did(
        number,
        phone_number_id,
        registration.status,
        carrier.provider_type,
        carrier.account_id,
        previous.provider_type if previous else None,
        previous.account_id if previous else None,
        registration.previous_until,
    )
    session.execute(select(call))


def find_owner(connection: Connection, *, number: str) -> Owner | None:
    """Whose the number is, in one indexed read; one that is only assigned is nobody's yet."""
    row = db.run_one(connection, _FIND_OWNER, {"number": number})
    if row is None:
        return None
    *owned, provider_type, account_id, previous_provider_type, previous_account_id = row
    found = (provider_type, account_id), (previous_provider_type, previous_account_id)
    owner = _owner(*owned)
    return owner and replace(owner, carriers=tuple(CarrierRef(*it) for it in found if it[0]))


def _owner(
    tenant_id: UUID,
    status: str,
    phone_number_id: UUID | None,
    state: str,
    rests_until: datetime | None,
    revision: str,
    plan: str,
    plan_limits: Mapping[str, int],
) -> Owner | None:
    if state == "assigned":
        return None
    tenant = TenantRef(tenant_id)
    return Owner(tenant, status, phone_number_id, rests_until, revision, plan, plan_limits)


def find_own(session: Session, *, number: str) -> Owner | None:
    """The same for a transaction inside a tenant, which sees only its own numbers."""
    call = func.public.own_did(number).table_valued(
        "tenant_status", "phone_number_id", "state", "rests_until", "schema_revision"
    )
    standing = func.public.own_standing().table_valued("plan", "plan_limits")
    wanted = select(call, standing.c.plan, standing.c.plan_limits, func.public.acting_tenant())
    row = session.execute(wanted.select_from(call).join(standing, true())).one_or_none()
    if row is None:
        return None
    *owned, tenant_id = row
    return _owner(tenant_id, *owned)


def holder(session: Session, *, number: str) -> UUID | None:
    """The id of the phone number that has claimed this number; None when nobody has.

    For a transaction inside a tenant; all that it learns of another tenant's is the nil uuid.
    """
    return session.scalar(select(func.public.did_holder(number)))


def is_own(session: Session, *, number: str) -> bool:
    """Whether the session's tenant has claimed this number."""
    return holder(session, number=number) not in (None, ANOTHERS)


def count_miss(session: Session, *, number: str) -> None:
    """Remember that a number rang which no tenant has."""
    session.execute(select(func.public.count_did_miss(number)))


def misses(session: Session, *, limit: int = 100) -> list[DidMiss]:
    """The numbers that rang in vain, the latest first."""
    return list(
        session.scalars(select(DidMiss).order_by(DidMiss.last_missed_at.desc()).limit(limit))
    )


def assign(session: Session, *, number: str, tenant_id: UUID) -> Did:
    """Promise a number to a tenant, which alone may then claim it.

    Assigning it again to the same tenant changes nothing. Raises NumberAlreadyClaimed when it is
    claimed or promised elsewhere, InvalidInput when there is no such tenant.
    """
    outcome = session.scalar(select(func.public.assign_did(number, tenant_id)))
    if outcome == "taken":
        raise NumberAlreadyClaimed
    if outcome == "unknown":
        raise InvalidInput.field("tenant_id", "There is no such tenant.")
    _note(session, number, tenant_id, state=disclosure.shown(None, "assigned"))
    return session.get_one(Did, number, populate_existing=True)


def unassign(session: Session, *, number: str) -> None:
    """Take back a promise, or end a rest; raises NotFound, and Conflict for a claimed number."""
    outcome = session.scalar(select(func.public.unassign_did(number)))
    if outcome == "unknown":
        raise NotFound
    if outcome == "claimed":
        raise Conflict("The number is in use: delete it at its tenant first.")
    _note(session, number, None, state=disclosure.shown(None, "free"))


def get(session: Session, *, number: str) -> Did:
    """The registry's row; raises NotFound."""
    did = session.get(Did, number)
    if did is None:
        raise NotFound
    return did


def list_page(session: Session, *, page: PageRequest, **filters: object) -> Page:
    """The registry over all tenants, by number."""
    return _LISTING.page(session, page, filters)


def release_all(session: Session, *, tenant_id: UUID, rest: timedelta = REST) -> None:
    """Stop and rest all numbers of a tenant, and have their carriers told."""
    call = func.public.release_tenant_dids(tenant_id, rest).table_valued(*_ORDERED)
    for row in session.execute(select(call)):
        _enqueue(session, "phone_numbers.unregister", did=row)


def restore_all(session: Session, *, tenant_id: UUID) -> None:
    """Give a restored tenant back the numbers that still rest with it."""
    call = func.public.restore_tenant_dids(tenant_id).table_valued(*_ORDERED)
    for row in session.execute(select(call)):
        order_registration(session, row)


def order_registration(session: Session, did: Any) -> None:
    """Have a claimed number registered at its carrier, if its tenant still wants that."""
    _enqueue(session, "phone_numbers.register", did=did)


def _note(session: Session, number: str, tenant_id: UUID | None, **changes: Any) -> None:
    """A number has no id: what is told instead is a keyed hash of it."""
    told = disclosure.hashed(number)
    deeds.note(session, "did", told, tenant_id=tenant_id, changes=changes)


def _enqueue(session: Session, task: str, *, did: Any) -> None:
    jobs.enqueue(session, task, **{name: getattr(did, name) for name in _ORDERED})
