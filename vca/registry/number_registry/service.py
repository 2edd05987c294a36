"""Claim and release numbers; find whose a number is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, func, select, true
from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.jobs import queue
from vca.kit import db
from vca.kit.errors import Conflict, DomainError, InvalidInput, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.number_registry.models import Did, UnroutedNumber
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef

QUARANTINE = timedelta(days=30)
FOREIGN_NUMBER = UUID(int=0)  # what a tenant is told of a phone number that is another's
# "proven": as open, since the tenant's own account with the carrier has the number.
ClaimPolicy = Literal["open", "assigned", "proven", "platform"]


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

    carrier: ProviderAccountRef
    status: str
    previous: ProviderAccountRef | None = None
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
    carriers: tuple[ProviderAccountRef, ...] = ()


# What an order to a carrier names.
_CARRIER_JOB_FIELDS = (
    "tenant_id",
    "phone_number_id",
    "did_number",
    "provider_type",
    "telephony_account_id",
)
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
    session: Session,
    *,
    number: str,
    phone_number_id: UUID,
    carrier: ProviderAccountRef,
    policy: ClaimPolicy,
) -> None:
    """Make `number` the session's tenant's own; the database decides races.

    Raises NumberAlreadyClaimed, and NumberNotAssigned under `terms="assigned"`.
    """
    provider_type, account_id = carrier.provider_type, carrier.account_id
    function = func.public.claim_did(number, phone_number_id, provider_type, account_id, policy)
    outcome = session.scalar(select(function))
    if outcome == "taken":
        raise NumberAlreadyClaimed
    if outcome == "unassigned":
        raise NumberNotAssigned


def release(session: Session, *, number: str, quarantine: timedelta = QUARANTINE) -> None:
    """Let the session's tenant's number go: it stops routing, and rests for a while."""
    session.execute(select(func.public.release_did(number, quarantine)))


def sync_registration(
    session: Session, *, number: str, phone_number_id: UUID, registration: Registration
) -> None:
    """Keep the registry's copy of how the session's tenant's number rings and is registered."""
    carrier, previous = registration.carrier, registration.previous
    function = func.public.note_did(
        number,
        phone_number_id,
        registration.status,
        carrier.provider_type,
        carrier.account_id,
        previous.provider_type if previous else None,
        previous.account_id if previous else None,
        registration.previous_until,
    )
    session.execute(select(function))


def find_owner(connection: Connection, *, number: str) -> Owner | None:
    """Whose the number is, in one indexed read; one that is only assigned is nobody's yet."""
    row = db.fetch_one(connection, _FIND_OWNER, {"number": number})
    if row is None:
        return None
    *owner_columns, provider_type, account_id, previous_provider_type, previous_account_id = row
    carrier_columns = (provider_type, account_id), (previous_provider_type, previous_account_id)
    owner = _make_owner(*owner_columns)
    return owner and replace(
        owner,
        carriers=tuple(ProviderAccountRef(*account) for account in carrier_columns if account[0]),
    )


def _make_owner(
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


def find_tenant_number(session: Session, *, number: str) -> Owner | None:
    """The same for a transaction inside a tenant, which sees only its own numbers."""
    function = func.public.own_did(number).table_valued(
        "tenant_status", "phone_number_id", "state", "rests_until", "schema_revision"
    )
    plan = func.public.own_standing().table_valued("plan", "plan_limits")
    query = select(function, plan.c.plan, plan.c.plan_limits, func.public.acting_tenant())
    row = session.execute(query.select_from(function).join(plan, true())).one_or_none()
    if row is None:
        return None
    *owner_columns, tenant_id = row
    return _make_owner(tenant_id, *owner_columns)


def current_holder(session: Session, *, number: str) -> UUID | None:
    """The id of the phone number that has claimed this number; None when nobody has.

    For a transaction inside a tenant; all that it learns of another tenant's is the nil uuid.
    """
    return session.scalar(select(func.public.did_holder(number)))


def owned_by_tenant(session: Session, *, number: str) -> bool:
    """Whether the session's tenant has claimed this number."""
    return current_holder(session, number=number) not in (None, FOREIGN_NUMBER)


def record_unrouted_call(session: Session, *, number: str) -> None:
    """Remember that a number rang which no tenant has."""
    session.execute(select(func.public.count_did_miss(number)))


def list_unrouted_numbers(session: Session, *, limit: int = 100) -> list[UnroutedNumber]:
    """The numbers that rang in vain, the latest first."""
    return list(
        session.scalars(
            select(UnroutedNumber).order_by(UnroutedNumber.last_missed_at.desc()).limit(limit)
        )
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
    _record_number_change(
        session, number, tenant_id, state=redaction.plain_change(None, "assigned")
    )
    return session.get_one(Did, number, populate_existing=True)


def unassign(session: Session, *, number: str) -> None:
    """Take back a promise, or end a rest; raises NotFound, and Conflict for a claimed number."""
    outcome = session.scalar(select(func.public.unassign_did(number)))
    if outcome == "unknown":
        raise NotFound
    if outcome == "claimed":
        raise Conflict("The number is in use: delete it at its tenant first.")
    _record_number_change(session, number, None, state=redaction.plain_change(None, "free"))


def get(session: Session, *, number: str) -> Did:
    """The registry's row; raises NotFound."""
    did = session.get(Did, number)
    if did is None:
        raise NotFound
    return did


def list_page(session: Session, *, page: PageRequest, **filters: object) -> Page:
    """The registry over all tenants, by number."""
    return _LISTING.page(session, page, filters)


def release_all(session: Session, *, tenant_id: UUID, quarantine: timedelta = QUARANTINE) -> None:
    """Stop and rest all numbers of a tenant, and have their carriers told."""
    function = func.public.release_tenant_dids(tenant_id, quarantine).table_valued(
        *_CARRIER_JOB_FIELDS
    )
    for row in session.execute(select(function)):
        _enqueue_carrier_job(session, "phone_numbers.unregister", did=row)


def restore_all(session: Session, *, tenant_id: UUID) -> None:
    """Give a restored tenant back the numbers that still rest with it."""
    function = func.public.restore_tenant_dids(tenant_id).table_valued(*_CARRIER_JOB_FIELDS)
    for row in session.execute(select(function)):
        enqueue_registration(session, row)


def enqueue_registration(session: Session, did: Any) -> None:
    """Have a claimed number registered at its carrier, if its tenant still wants that."""
    _enqueue_carrier_job(session, "phone_numbers.register", did=did)


def _record_number_change(
    session: Session, number: str, tenant_id: UUID | None, **changes: Any
) -> None:
    """A number has no id: what is told instead is a keyed hash of it."""
    number_hash = redaction.hash_text(number)
    context.record_change(session, "did", number_hash, tenant_id=tenant_id, changes=changes)


def _enqueue_carrier_job(session: Session, task: str, *, did: Any) -> None:
    queue.enqueue(session, task, **{name: getattr(did, name) for name in _CARRIER_JOB_FIELDS})
