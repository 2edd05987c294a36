"""Whose account must have signed a carrier's request, and whether it has. Writes nothing.

What a request is about it says itself, unbelieved: by our token, by a call that is known, by the
called number. Who holds that call, or has that number, must have signed; for what is nobody's, the
deployment's own account.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vca.registry.dids import service as dids
from vca.registry.dids.service import Owner
from vca.telephony import providers
from vca.telephony.adapter import BadCarrierRequest, SignatureRefused, TelephonyAdapter
from vca.telephony.types import CarrierFacts, CarrierRef, CarrierRequest
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, lookup
from vca.tenant.calls import record
from vca.tenant.calls.desk import Desk, Sealed
from vca.tenant.calls.refs import CallRef
from vca.tenant.telephony_accounts import carriers


@dataclass(frozen=True)
class Signed:
    """A genuine request: whose account signed it, and what it is about as far as that is known.

    `carrier` has that account, and answers with it.
    """

    carrier: TelephonyAdapter
    by: CarrierRef
    owner: Owner | None = None
    sealed: Sealed | None = None
    call: CallRef | None = None


def find_owner(number: str) -> Owner | None:
    """Whose a called number is; a number of a deleted tenant is nobody's."""
    with lookup() as connection:
        owner = dids.find_owner(connection, number=number)
    return None if owner is None or owner.tenant_status == "deleted" else owner


def check(
    reader: TelephonyAdapter, request: CarrierRequest, facts: CarrierFacts, desk: Desk
) -> Signed:
    """The request with the account that had to sign it, and has.

    Of the deployment's own account nothing is looked up but whose the number is. Raises
    BadCarrierRequest, SignatureRefused and DatabaseFailure.
    """
    if facts.kind == "call" or facts.state is None:
        return _of_number(reader, request, facts)
    try:
        sealed = desk.unseal(facts.state)
    except BadCarrierRequest:
        reader.verify(request)  # a stranger learns nothing of tokens
        if facts.kind == "progress":  # nothing is done about it
            return Signed(reader, CarrierRef(reader.name))
        raise
    tenant = sealed.ref.tenant
    held_by = sealed.carrier or _held_by(sealed.ref) or CarrierRef(reader.name)
    carrier, by = _signer(reader, request, [held_by], tenant)
    return Signed(carrier, by, sealed=sealed)


def own(
    simulator: TelephonyAdapter, request: CarrierRequest, facts: CarrierFacts, desk: Desk
) -> Signed:
    """The same for our own telephone, which may ring every number whoever carries it."""
    simulator.verify(request)
    owner = find_owner(facts.called_number) if facts.kind == "call" else None
    sealed = desk.unseal(facts.state) if facts.state is not None else None
    return Signed(simulator, CarrierRef(simulator.name), owner, sealed)


def _of_number(reader: TelephonyAdapter, request: CarrierRequest, facts: CarrierFacts) -> Signed:
    owner = find_owner(facts.called_number)
    if owner is None:
        reader.verify(request)
        return Signed(reader, CarrierRef(reader.name))
    call, held_by = (None, None) if facts.kind == "call" else _known_call(reader, facts, owner)
    candidates = owner.carriers if held_by is None else (held_by,)
    carrier, by = _signer(reader, request, candidates, owner.tenant)
    return Signed(carrier, by, owner, call=call)


def _known_call(
    reader: TelephonyAdapter, facts: CarrierFacts, owner: Owner
) -> tuple[CallRef, CarrierRef] | tuple[None, None]:
    """The call of an event that bears no state, and who holds it.

    There is none at a tenant whose schema is too old: its calls are not recorded.
    """
    if not schema.supports(owner.schema_revision):
        return None, None
    known = {"provider_type": reader.name, "provider_call_id": facts.provider_call_id}
    with enter(owner.tenant) as session:
        found = record.find(session, **known)
    return (CallRef(owner.tenant, found[0]), found[1]) if found else (None, None)


def _held_by(ref: CallRef) -> CarrierRef | None:
    with enter(ref.tenant) as session:
        return record.held_by(session, ref.call_id)


def _signer(
    reader: TelephonyAdapter,
    request: CarrierRequest,
    candidates: Iterable[CarrierRef],
    tenant: TenantRef,
) -> tuple[TelephonyAdapter, CarrierRef]:
    """The first of these whose signature the request bears; raises SignatureRefused."""
    for ref in candidates:
        carrier = _with_account(reader, ref, tenant)
        if carrier is not None and _has_signed(carrier, request):
            return carrier, CarrierRef(reader.name, ref.account_id)
    raise SignatureRefused("no account that could have signed this has")


def _with_account(
    reader: TelephonyAdapter, ref: CarrierRef, tenant: TenantRef
) -> TelephonyAdapter | None:
    if providers.current().name_of(ref.provider_type) != reader.name:
        return None
    if ref.account_id is None:
        return reader
    with enter(tenant) as session:
        return carriers.of_number(session, CarrierRef(reader.name, ref.account_id))


def _has_signed(carrier: TelephonyAdapter, request: CarrierRequest) -> bool:
    try:
        carrier.verify(request)
    except SignatureRefused:
        return False
    return True
