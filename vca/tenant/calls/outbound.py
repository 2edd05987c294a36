"""Outbound calls: intended first, dialled once, whatever dies on the way.

The row and the order to dial are one transaction. Before the carrier is asked the row says that it
is being asked; whoever finds it so without the carrier's id does not dial but looks the call up
under our reference. So a process may die at any moment, and nobody's telephone rings twice.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from vca.kit import clock, crash, jobs, log
from vca.kit.errors import Conflict, InvalidInput
from vca.registry.tenants import standing
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.types import CallEvent, OutboundCall
from vca.tenancy.session import enter
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.calls import desk, flow, legs, record, states, telling, watch
from vca.tenant.calls.models import Call
from vca.tenant.calls.refs import CallRef, carrier_of
from vca.tenant.calls.route import Route, Step
from vca.tenant.phone_numbers import at_carrier
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings import limits
from vca.tenant.settings import service as settings
from vca.tenant.settings.limits import LimitReached
from vca.tenant.telephony_accounts import carriers
from vca.tenant.usage import cap
from vca.tenant.usage.cap import SpendCapReached
from vca.tenant.webhooks import events

DIAL = "calls.dial"
RING_S = 30
# A carrier shows a call that it placed within this; a reference that it does not know by then was
# never dialled.
_SHOWN_WITHIN = timedelta(seconds=45)
_LOOK_AGAIN = timedelta(seconds=5)


class NotDiallable(Conflict):
    """The tenant's number cannot place calls; the code says why."""

    code = "number-not-usable"


def order(
    session: Session,
    *,
    to: str,
    from_phone_number_id: UUID,
    ai_profile_id: UUID | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Call:
    """Intend a call and order that it is dialled, in the caller's transaction.

    Raises InvalidInput for a number or profile that is not the tenant's, NotDiallable, LimitReached
    when all lines are in use, SpendCapReached, and DiallingRefused by the tenant's policy.
    """
    own = settings.get(session, for_update=True)
    number = _number(session, from_phone_number_id)
    profile = _profile(session, ai_profile_id or number.ai_profile_id, named=ai_profile_id)
    carrier = _carrier(session, number)
    allowed = limits.effective(standing.own(session).plan_limits, own.limits).concurrent_calls
    live, now = record.live(session), clock.now()
    if live.calls >= allowed:
        raise LimitReached("concurrent_calls", allowed)
    leave = cap.ask(session, spend_cap=own.spend_cap, live=live, now=now)
    if own.spend_cap is not None and not leave.given:
        raise SpendCapReached(own.spend_cap)
    call = _call(number, profile, carrier, to, metadata or {})
    call.reserved = leave.reserve
    legs.check(session, to, kind="call", call_id=call.id, from_number=number.did_number)
    session.add(call)
    session.flush()
    jobs.enqueue(session, DIAL, lock=f"{DIAL}:{call.id.hex}", call_id=call.id)
    watch.begin(session, call_id=call.id, now=now)
    events.tell(session, *telling.moved(call.id, call, None, call.state))
    return call


def dial(ref: CallRef) -> None:
    """Have the carrier place the call, unless that was begun before: then find what came of it."""
    now = clock.now()
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        if talk.status in states.TERMINAL or talk.provider_call_id is not None:
            return
        carrier = carriers.of_call(session, carrier_of(talk))
        begun_at = session.get_one(Call, ref.call_id).dialled_at
        if begun_at is None:
            record.note(session, ref.call_id, dialled_at=now)
    if carrier is None:
        _fail(ref, now, "carrier_error", "the carrier is not configured")
    elif begun_at is None:
        crash.point("calls.dial.marked")
        _place(ref, carrier, _wanted(ref, talk), now)
    else:
        wanted = replace(_wanted(ref, talk), begun_at=begun_at)
        _find(ref, carrier, wanted, begun_at, now)


def dial_again(ref: CallRef, *, at: datetime) -> None:
    """Have an order taken up then, unless it waits for that already."""
    with enter(ref.tenant) as session:
        lock = f"{DIAL}:{ref.call_id.hex}"
        jobs.enqueue(session, DIAL, run_at=at, lock=lock, call_id=ref.call_id)


def _place(ref: CallRef, carrier: TelephonyAdapter, wanted: OutboundCall, now: datetime) -> None:
    try:
        provider_call_id = carrier.place_call(wanted)
    except TelephonyError as error:
        log.get().warning("call.not_placed", call_id=str(ref.call_id), code=error.code)
        if error.ambiguous:
            dial_again(ref, at=now + _LOOK_AGAIN)
        elif error.permanent:
            reason = "invalid_number" if error.code == "invalid-number" else "carrier_error"
            _fail(ref, now, reason, error.code or str(error))
        else:
            _undo(ref)
            raise
        return
    crash.point("calls.dial.placed")
    _placed(ref, provider_call_id, now)


def _find(
    ref: CallRef,
    carrier: TelephonyAdapter,
    wanted: OutboundCall,
    begun_at: datetime,
    now: datetime,
) -> None:
    """Somebody has begun to dial and did not come to write down what came of it."""
    try:
        provider_call_id = carrier.find_call(wanted)
    except TelephonyError as error:
        log.get().warning("call.not_found", call_id=str(ref.call_id), code=error.code)
        provider_call_id = None
        begun_at = now  # nothing was learnt
    if provider_call_id is not None and not _is_another(ref, carrier, provider_call_id):
        _placed(ref, provider_call_id, now)
    elif now - begun_at < _SHOWN_WITHIN:
        dial_again(ref, at=now + _LOOK_AGAIN)
    else:
        _fail(ref, now, "carrier_error", "the carrier has no such call")


def _is_another(ref: CallRef, carrier: TelephonyAdapter, provider_call_id: str) -> bool:
    """Whether what was found is known to be another call of the tenant's."""
    with enter(ref.tenant) as session:
        known = record.find(session, provider_type=carrier.name, provider_call_id=provider_call_id)
    return known is not None and known[0] != ref.call_id


def _placed(ref: CallRef, provider_call_id: str, now: datetime) -> None:
    with enter(ref.tenant) as session:
        record.talk(session, ref.call_id)
        event = CallEvent("INITIATED", provider_call_id, now, "own-INITIATED")
        record.happened(session, ref.call_id, event)


def _undo(ref: CallRef) -> None:
    """The carrier has certainly not dialled: the job may try again."""
    with enter(ref.tenant) as session:
        record.talk(session, ref.call_id)
        record.note(session, ref.call_id, dialled_at=None)


def _fail(ref: CallRef, now: datetime, end_reason: str, detail: str) -> None:
    event = CallEvent(
        "FAILED", ref.call_id.hex, now, "dial", end_reason=end_reason, end_detail=detail[:64]
    )
    flow.finish(ref, event=event)


def _wanted(ref: CallRef, talk: Row[Any]) -> OutboundCall:
    ours = desk.current()
    return OutboundCall(
        reference=ref.call_id.hex,
        number=talk.called_number,
        from_number=talk.caller_number,
        callback_url=ours.callback_url(talk.provider_type),
        state=ours.seal(ref, carrier_of(talk), turns=0),
        timeout_s=RING_S,
    )


def _number(session: Session, phone_number_id: UUID) -> PhoneNumber:
    number = session.get(PhoneNumber, phone_number_id)
    if number is None:
        raise InvalidInput.field("from_phone_number_id", "The tenant has no such number.")
    if not number.is_active:
        raise NotDiallable("The number is not active.")
    return number


def _profile(session: Session, profile_id: UUID | None, *, named: UUID | None) -> AiProfile:
    wanted = AiProfile.is_default if profile_id is None else AiProfile.id == profile_id
    profile = session.scalars(select(AiProfile).where(wanted)).one_or_none()
    if profile is None and named is not None:
        raise InvalidInput.field("ai_profile_id", "The tenant has no such profile.")
    if profile is None:
        raise NotDiallable("The tenant has no AI profile that could speak.")
    return profile


def _carrier(session: Session, number: PhoneNumber) -> TelephonyAdapter:
    carrier = carriers.of_number(session, at_carrier.ref_of(number))
    if carrier is None:
        raise NotDiallable("No carrier is configured for this number.")
    if not carrier.capabilities.outbound:
        raise NotDiallable("The number's carrier cannot place calls.")
    if not desk.current().may_answer(simulated=False):
        raise NotDiallable("No language model is configured for real callers.")
    return carrier


def _call(
    number: PhoneNumber,
    profile: AiProfile,
    carrier: TelephonyAdapter,
    to: str,
    metadata: Mapping[str, Any],
) -> Call:
    why = Step("profile", "decided", "the call was ordered with this profile")
    route = Route("agent", (why,), ai_profile_id=profile.id, ai_profile_version=profile.version)
    return Call(
        id=uuid4(),
        phone_number_id=number.id,
        ai_profile_id=profile.id,
        ai_profile_version=profile.version,
        direction="outbound",
        status="queued",
        caller_number=number.did_number,
        caller_id="shown",
        called_number=to,
        provider_type=carrier.name,
        provider_call_id=None,
        telephony_account_id=number.telephony_account_id,
        simulated=False,
        started_at=clock.now(),
        route=route.as_dict(),
        call_metadata=dict(metadata),
    )
