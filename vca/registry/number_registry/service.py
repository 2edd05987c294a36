"""Claim and release numbers, and find the tenant of a number."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, func, select, true
from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.kit import db
from vca.kit.db import Database
from vca.kit.errors import Conflict, DomainError, InvalidInput, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.number_registry.models import Did, UnroutedNumber
from vca.services import Services
from vca.services.lifecycle_hooks import NumberChange
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

QUARANTINE = timedelta(days=30)  # as public.did_quarantine() in the database
FOREIGN_NUMBER = UUID(int=0)  # stands for a phone number of another tenant
# "proven" is like "open": the tenant's own account with the carrier proves that it has the number.
ClaimPolicy = Literal["open", "assigned", "proven", "platform"]


class NumberAlreadyClaimed(Conflict):
    """Another tenant has the number; the error does not say which."""

    code = "number-already-claimed"

    def __init__(self) -> None:
        super().__init__("This number is not available.")


class NumberNotAssigned(DomainError):
    """In this deployment, tenants can claim only numbers that are assigned to them."""

    status = 403
    code = "number-not-assigned"

    def __init__(self) -> None:
        super().__init__("This number is not assigned to this tenant.")


@dataclass(frozen=True)
class Registration:
    """The registry's copy of a number's carrier and registration.

    After a move, `previous` is the carrier that may still deliver calls until `previous_until`.
    """

    carrier: ProviderAccountRef
    status: str
    previous: ProviderAccountRef | None = None
    previous_until: datetime | None = None


@dataclass(frozen=True)
class Owner:
    """The tenant of a called number, with its status, schema revision and plan.

    `plan_limits` are the concurrency limits of the plan. `carriers` are the carriers that may
    deliver calls now, the current one first; inside a tenant's transaction it is empty.
    """

    tenant: TenantRef
    tenant_status: str
    phone_number_id: UUID | None
    rests_until: datetime | None
    schema_revision: str
    plan: str
    plan_limits: Mapping[str, int]
    carriers: tuple[ProviderAccountRef, ...] = ()


# Arguments of the jobs that register and unregister a number.
_NUMBER_CHANGE_FIELDS = (
    "tenant_id",
    "phone_number_id",
    "did_number",
    "provider_type",
    "telephony_account_id",
)
_LISTING = Listing(Did, (Did.did_number,))
_CURRENT_HOLDER = "SELECT public.did_holder(%(number)s)"
_SYNC_REGISTRATION = (
    "SELECT public.note_did(%(number)s, %(phone_number_id)s, %(status)s, %(provider_type)s,"
    " %(account_id)s, %(previous_provider_type)s, %(previous_account_id)s, %(previous_until)s)"
)
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


def permit_claim(session: Session, *, number: str, tenant_id: UUID, policy: ClaimPolicy) -> None:
    """Permit the tenant to claim `number` under a policy; commit it before the claim.

    The session is outside of the tenant, whose own transactions cannot choose a policy. The
    permission is for one claim within a minute. A number that is assigned to the tenant needs none,
    so with `policy="assigned"` nothing is stored.
    """
    if policy != "assigned":
        function = func.public.permit_claim(number, tenant_id, policy == "platform")
        session.execute(select(function))


@contextmanager
def claim_permit(
    *, number: str, tenant_id: UUID, policy: ClaimPolicy, database: Database
) -> Iterator[None]:
    """Permit the tenant to claim `number` in the block; withdraw the permit if the block raises."""
    with public_session(database=database) as session:
        permit_claim(session, number=number, tenant_id=tenant_id, policy=policy)
    is_done = False
    try:
        yield
        is_done = True
    finally:
        if not is_done and policy != "assigned":
            with public_session(database=database) as session:
                session.execute(select(func.public.withdraw_permit(number, tenant_id)))


def claim(
    session: Session, *, number: str, phone_number_id: UUID, carrier: ProviderAccountRef
) -> None:
    """Claim `number` for the session's tenant; the database resolves races.

    Raises NumberAlreadyClaimed, and NumberNotAssigned for a number that is neither assigned to the
    tenant nor permitted (`permit_claim`).
    """
    provider_type, account_id = carrier.provider_type, carrier.account_id
    function = func.public.claim_did(number, phone_number_id, provider_type, account_id)
    outcome = session.scalar(select(function))
    if outcome == "taken":
        raise NumberAlreadyClaimed
    if outcome == "unassigned":
        raise NumberNotAssigned


def release(session: Session, *, number: str) -> None:
    """Release the session tenant's number: it stops routing, and is quarantined."""
    session.execute(select(func.public.release_did(number)))


def sync_registration(
    session: Session, *, number: str, phone_number_id: UUID, registration: Registration
) -> None:
    """Update the registry's copy of the carrier and registration of the tenant's number.

    It is sent with the session's next statement and costs no round trip of its own.
    """
    carrier, previous = registration.carrier, registration.previous
    parameters = {
        "number": number,
        "phone_number_id": str(phone_number_id),
        "status": registration.status,
        "provider_type": carrier.provider_type,
        "account_id": _text_or_none(carrier.account_id),
        "previous_provider_type": previous.provider_type if previous else None,
        "previous_account_id": _text_or_none(previous.account_id) if previous else None,
        "previous_until": registration.previous_until,
    }
    db.defer_statement(session.connection(), _SYNC_REGISTRATION, parameters)


def _text_or_none(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def find_owner(connection: Connection, *, number: str) -> Owner | None:
    """Return the tenant of a called number, or None; one indexed read.

    An assigned number that is not claimed yet has no owner.
    """
    row = db.fetch_one_prepared(connection, _FIND_OWNER, {"number": number})
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
    """Return the same inside a tenant's transaction, which sees only its own numbers."""
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
    """Return the id of the phone number that claimed this number, or None.

    It works inside a tenant's transaction. For a number of another tenant it returns the nil UUID.
    """
    [(holder,)] = db.fetch_rows(session.connection(), _CURRENT_HOLDER, {"number": number})
    return UUID(holder) if isinstance(holder, str) else holder


def owned_by_tenant(session: Session, *, number: str) -> bool:
    """Return whether the session's tenant has claimed this number."""
    return current_holder(session, number=number) not in (None, FOREIGN_NUMBER)


def record_unrouted_call(session: Session, *, number: str) -> None:
    """Count a call to a number that no tenant has."""
    session.execute(select(func.public.count_did_miss(number)))


def list_unrouted_numbers(session: Session, *, limit: int = 100) -> list[UnroutedNumber]:
    """Return called numbers that no tenant has, the latest call first."""
    return list(
        session.scalars(
            select(UnroutedNumber).order_by(UnroutedNumber.last_missed_at.desc()).limit(limit)
        )
    )


def assign(session: Session, *, number: str, tenant_id: UUID) -> Did:
    """Assign a number to a tenant, which alone can then claim it.

    Assigning it to the same tenant again changes nothing. Raises NumberAlreadyClaimed if the number
    is claimed by or assigned to another tenant, and InvalidInput if the tenant does not exist.
    """
    outcome = session.scalar(select(func.public.assign_did(number, tenant_id)))
    if outcome == "taken":
        raise NumberAlreadyClaimed
    if outcome == "unknown":
        raise InvalidInput.field("tenant_id", "This tenant does not exist.")
    _record_number_change(
        session, number, tenant_id, state=redaction.plain_change(None, "assigned")
    )
    return session.get_one(Did, number, populate_existing=True)


def unassign(session: Session, *, number: str) -> None:
    """Withdraw an assignment or end a quarantine.

    Raises NotFound, and Conflict for a claimed number.
    """
    outcome = session.scalar(select(func.public.unassign_did(number)))
    if outcome == "unknown":
        raise NotFound
    if outcome == "claimed":
        raise Conflict("The number is in use. Delete the tenant's phone number first.")
    _record_number_change(session, number, None, state=redaction.plain_change(None, "free"))


def get(session: Session, *, number: str) -> Did:
    """Return the registry's row; raise NotFound."""
    did = session.get(Did, number)
    if did is None:
        raise NotFound
    return did


def list_page(session: Session, *, page: PageRequest, **filters: object) -> Page:
    """Return a page of the registry of all tenants, by number."""
    return _LISTING.page(session, page, filters)


def release_all(session: Session, *, services: Services, tenant_id: UUID) -> None:
    """Stop and quarantine all numbers of a tenant, and unregister them at their carriers."""
    function = func.public.release_tenant_dids(tenant_id).table_valued(*_NUMBER_CHANGE_FIELDS)
    for row in session.execute(select(function)):
        report_change(session, row, is_claimed=False, services=services)


def restore_all(session: Session, *, services: Services, tenant_id: UUID) -> None:
    """Restore the numbers of a restored tenant that are still quarantined for it."""
    function = func.public.restore_tenant_dids(tenant_id).table_valued(*_NUMBER_CHANGE_FIELDS)
    for row in session.execute(select(function)):
        report_change(session, row, is_claimed=True, services=services)


def report_change(session: Session, did: Any, *, services: Services, is_claimed: bool) -> None:
    """Let the tenant's features register a claimed number at its carrier, or unregister it.

    They do so after the commit, and check whether it is still needed.
    """
    fields = {name: getattr(did, name) for name in _NUMBER_CHANGE_FIELDS}
    change = NumberChange(**fields, is_claimed=is_claimed)
    services.lifecycle_hooks.number_changed(session, change)


def _record_number_change(
    session: Session, number: str, tenant_id: UUID | None, **changes: Any
) -> None:
    """Record a change of a number; a keyed hash serves as its id, because numbers have none."""
    if (audit_context := context.current_context()) is not None:
        number_hash = redaction.hash_text(number, audit_context.hash_key)
        context.record_change(session, "did", number_hash, tenant_id=tenant_id, changes=changes)
