"""Turn orders of the call flow into actions that dial: the last step before the carrier.

An order was checked and counted when it was recorded. Until the carrier gets it, dialling may have
been frozen, the policy narrowed or the tenant suspended, so the permission is asked for again.
"""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from vca.kit import clock
from vca.services import Services
from vca.telephony.dial_permit import DialPermit
from vca.telephony.types import Action, CallEvent, Forward, HangUp, PlainAction, Say, Transfer
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import outbound_legs, record
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_types import (
    CallRef,
    ForwardOrder,
    TransferOrder,
    TurnResult,
)
from vca.tenant.calls.turns import call_flow
from vca.tenant.settings.dialling import DiallingRefused

_ORDERS = (ForwardOrder, TransferOrder)


@dataclass(frozen=True)
class PermittedTurn:
    """The carrier's next actions. The other fields are those of `TurnResult`."""

    ref: CallRef | None
    actions: tuple[Action, ...]
    turns: int | None = None


def permit_orders(result: TurnResult, *, services: Services) -> PermittedTurn:
    """Return the actions with a permission for the leg that they order, if any.

    If the permission is refused, the caller of a transfer returns to the agent, and the call of a
    forward ends with the reason `declined`.
    """
    *earlier, last = result.actions
    plain = tuple(action for action in earlier if not isinstance(action, _ORDERS))
    if not isinstance(last, _ORDERS):
        return PermittedTurn(result.ref, (*plain, last), result.turns)
    if result.ref is None:
        raise ValueError("an order without a call cannot be permitted")
    try:
        permit = permit_order(result.ref, last, services=services)
    except DiallingRefused as refusal:
        return _continue_without(result.ref, last, refusal, plain, result.turns, services=services)
    action = (
        Transfer(permit, last.timeout_s) if isinstance(last, TransferOrder) else Forward(permit)
    )
    return PermittedTurn(result.ref, (*plain, action), result.turns)


def permit_order(
    ref: CallRef, order: ForwardOrder | TransferOrder, *, services: Services
) -> DialPermit:
    """Return the permission to dial an order's number now; raise DiallingRefused."""
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        return outbound_legs.permit_leg(
            session,
            order.number,
            kind="transfer" if isinstance(order, TransferOrder) else "forward",
            call_id=ref.call_id,
            from_number=call_context.tenant_number,
            simulated=call_context.simulated,
            services=services,
        )


def _continue_without(
    ref: CallRef,
    order: ForwardOrder | TransferOrder,
    refusal: DiallingRefused,
    earlier: tuple[PlainAction, ...],
    turns: int | None,
    *,
    services: Services,
) -> PermittedTurn:
    """Return what follows instead of the refused leg."""
    if isinstance(order, TransferOrder):
        result = call_flow.finish_transfer(
            ref, leg_outcome="failed", after=turns, services=services
        )
        return permit_orders(
            replace(result, actions=(*earlier, *result.actions)), services=services
        )
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        _record_refused_forward(session, ref, refusal, services=services)
    if not any(isinstance(action, Say) for action in earlier):
        earlier = (*earlier, _say_fallback(call_context))
    return PermittedTurn(ref, (*earlier, HangUp()))


def _record_refused_forward(
    session: Session, ref: CallRef, refusal: DiallingRefused, *, services: Services
) -> None:
    """Record that the call was not forwarded, if its record says that it was."""
    if record.get_call(session, ref.call_id).end_reason != "transferred":
        return
    event = CallEvent(
        "ENDED",
        ref.call_id.hex,
        clock.now(),
        "dialling-refused",
        end_reason="declined",
        end_detail=refusal.reason,
    )
    record.apply_event(session, ref.call_id, event, services=services)


def _say_fallback(call_context: CallContext) -> Say:
    profile = call_context.profile
    if profile is None:
        return Say(call_context.texts.sentence("fallback", None))
    return profile.say(call_context.texts.sentence("fallback", profile.language))
