"""Find the account that must have signed a carrier's request, and verify the signature. Read-only.

The unverified request says what it is about: by our state token, by a call that we know, or by the
called number. The account of that call or number must have signed it. For anything else, the
deployment's own account must have signed. A state that we have not made for the request's call is
refused, or ignored if the carrier lets others choose it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vca.registry.number_registry import service as number_registry
from vca.registry.number_registry.service import Owner
from vca.services import Services
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature, TelephonyAdapter
from vca.telephony.types import CarrierEvent, CarrierRequest, ProviderAccountRef
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_connection, tenant_session
from vca.tenant.calls.carrier_webhooks import unsigned_states
from vca.tenant.calls.carrier_webhooks.received_event import ReceivedEvent
from vca.tenant.calls.core import record
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.telephony_accounts import adapter_lookup


@dataclass(frozen=True)
class AuthenticatedRequest:
    """A request with a valid signature.

    `adapter` uses the account that signed and renders the reply. `event` is what counts of the
    request. The other fields say what it is about, as far as that is known.
    """

    event: CarrierEvent
    adapter: TelephonyAdapter
    account: ProviderAccountRef
    owner: Owner | None = None
    call_state: CallState | None = None
    call: CallRef | None = None


def find_number_owner(number: str, *, services: Services) -> Owner | None:
    """Return the owner of a number, or None. A number of a deleted tenant has no owner."""
    with public_connection(database=services.database) as connection:
        owner = number_registry.find_owner(connection, number=number)
    return None if owner is None or owner.tenant_status == "deleted" else owner


def authenticate(
    parser: TelephonyAdapter,
    request: CarrierRequest,
    received: ReceivedEvent,
    *,
    services: Services,
) -> AuthenticatedRequest:
    """Verify a request's signature and return the request with its account.

    For the deployment's own account, only the owner of the number is looked up. Raises
    InvalidCarrierRequest, InvalidCarrierSignature and DatabaseFailure.
    """
    try:
        carrier_event, call_state = _find_state(received, services=services)
    except InvalidCarrierRequest:
        parser.verify(request)  # an unsigned request learns nothing about tokens
        if received.event.kind == "progress":  # needs no call
            return AuthenticatedRequest(received.event, parser, ProviderAccountRef(parser.name))
        raise
    if call_state is None or carrier_event.kind == "call":
        return _authenticate_by_number(parser, request, carrier_event, services=services)
    tenant = call_state.ref.tenant
    call_account = (
        call_state.account
        or _load_call_account(call_state.ref, services=services)
        or ProviderAccountRef(parser.name)
    )
    adapter, account = _find_signer(parser, request, [call_account], tenant, services=services)
    return AuthenticatedRequest(carrier_event, adapter, account, call_state=call_state)


def authenticate_simulated(
    simulator: TelephonyAdapter,
    request: CarrierRequest,
    received: ReceivedEvent,
    *,
    services: Services,
) -> AuthenticatedRequest:
    """Verify a request of the simulated phone, which may call any number on any carrier."""
    simulator.verify(request)
    event = received.event
    owner = (
        find_number_owner(event.called_number, services=services) if event.kind == "call" else None
    )
    account = ProviderAccountRef(simulator.name)
    event, call_state = _find_state(received, services=services)
    return AuthenticatedRequest(event, simulator, account, owner, call_state)


def _find_state(
    received: ReceivedEvent, *, services: Services
) -> tuple[CarrierEvent, CallState | None]:
    """Return what counts of the event, and its state, or None if it has none.

    Raises InvalidCarrierRequest if its state is not one that we made for its call.
    """
    if (accepted := unsigned_states.find_accepted(received, services=services)) is not None:
        return accepted.event, accepted.call_state
    if received.event.state is None:
        return received.event, None
    if received.own_state is None:
        raise InvalidCarrierRequest("the state is not valid for this call")
    return received.event, received.own_state


def _authenticate_by_number(
    parser: TelephonyAdapter,
    request: CarrierRequest,
    carrier_event: CarrierEvent,
    *,
    services: Services,
) -> AuthenticatedRequest:
    owner = find_number_owner(carrier_event.called_number, services=services)
    if owner is None:
        parser.verify(request)
        return AuthenticatedRequest(carrier_event, parser, ProviderAccountRef(parser.name))
    call, call_account = (
        (None, None)
        if carrier_event.kind == "call"
        else _find_call(parser, carrier_event, owner, services=services)
    )
    candidates = owner.carriers if call_account is None else (call_account,)
    adapter, account = _find_signer(parser, request, candidates, owner.tenant, services=services)
    return AuthenticatedRequest(carrier_event, adapter, account, owner, call=call)


def _find_call(
    parser: TelephonyAdapter, carrier_event: CarrierEvent, owner: Owner, *, services: Services
) -> tuple[CallRef, ProviderAccountRef] | tuple[None, None]:
    """Return the call and account of an event without a state token, or (None, None).

    A tenant whose schema is too old has none, because its calls are not recorded.
    """
    if not schema.is_supported_revision(owner.schema_revision):
        return None, None
    query = {"provider_type": parser.name, "provider_call_id": carrier_event.provider_call_id}
    with tenant_session(owner.tenant, database=services.database) as session:
        call = record.find_call(session, **query)
    return (CallRef(owner.tenant, call[0]), call[1]) if call else (None, None)


def _load_call_account(ref: CallRef, *, services: Services) -> ProviderAccountRef | None:
    with tenant_session(ref.tenant, database=services.database) as session:
        return record.provider_of(session, ref.call_id)


def _find_signer(
    parser: TelephonyAdapter,
    request: CarrierRequest,
    candidates: Iterable[ProviderAccountRef],
    tenant: TenantRef,
    *,
    services: Services,
) -> tuple[TelephonyAdapter, ProviderAccountRef]:
    """Return the first candidate that signed the request; raise InvalidCarrierSignature."""
    for candidate in candidates:
        adapter = _account_adapter(parser, candidate, tenant, services=services)
        if adapter is not None and _is_signature_valid(adapter, request):
            return adapter, ProviderAccountRef(parser.name, candidate.account_id)
    raise InvalidCarrierSignature("no account of the call or number signed the request")


def _account_adapter(
    parser: TelephonyAdapter, account: ProviderAccountRef, tenant: TenantRef, *, services: Services
) -> TelephonyAdapter | None:
    if services.carriers.carrier_name(account.provider_type) != parser.name:
        return None
    if account.account_id is None:
        return parser
    with tenant_session(tenant, database=services.database) as session:
        return adapter_lookup.adapter_for_number(
            session, ProviderAccountRef(parser.name, account.account_id), services=services
        )


def _is_signature_valid(adapter: TelephonyAdapter, request: CarrierRequest) -> bool:
    try:
        adapter.verify(request)
    except InvalidCarrierSignature:
        return False
    return True
