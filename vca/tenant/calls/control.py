"""Take a live call in hand: hang it up, transfer it, speak into it, press keys on its line.

The carrier is asked while no transaction is open. What it refused is taken back in the record.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from vca.conversation import redaction
from vca.kit import clock, deeds, log
from vca.kit.db import DatabaseFailure
from vca.kit.deeds import Deed
from vca.kit.errors import Conflict, NotFound
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.types import Action, CallEvent, CallReply, Say, SendKeys
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, public
from vca.tenant.calls import flow, greeting, record, shown, states, transfers
from vca.tenant.calls.desk import Desk
from vca.tenant.calls.models import LIVE, Call
from vca.tenant.calls.refs import CallRef, carrier_of
from vca.tenant.calls.transfers import OnFailure
from vca.tenant.calls.watch import CHECK
from vca.tenant.phone_numbers.carrying import CarrierCannot
from vca.tenant.telephony_accounts import carriers

_AT_ONCE = 16
_ON_CALL = text("SELECT tenant_id FROM jobs.tenants_awaiting(:task)")


class CallEnded(Conflict):
    """The call is over."""

    code = "call-ended"

    def __init__(self) -> None:
        super().__init__("The call has ended.")


class NotTalking(Conflict):
    """Nobody talks to the agent at this moment: the call rings still, or is being transferred."""

    code = "call-not-in-progress"

    def __init__(self, status: str) -> None:
        super().__init__(f"The call is {status}: it must be in_progress for this.")


class CarrierNotThere(Conflict):
    """The carrier that holds the call is not configured any more."""

    code = "carrier-not-configured"

    def __init__(self) -> None:
        super().__init__("The call's carrier is not configured.")


@dataclass(frozen=True)
class HungUp:
    """What came of hanging up many calls."""

    ended: int = 0
    failed: int = 0

    def __add__(self, other: "HungUp") -> "HungUp":
        return HungUp(self.ended + other.ended, self.failed + other.failed)


def hang_up(tenant: TenantRef, *, call_id: UUID) -> Any:
    """End a live call at its carrier, then in the record.

    Raises NotFound, CallEnded, and TelephonyError when the carrier fails: then it goes on.
    """
    with enter(tenant) as session:
        call = _get(session, call_id)
        carrier = carriers.of_call(session, carrier_of(call))
    if not call.live:
        raise CallEnded
    if carrier is not None and call.provider_call_id is not None:
        carrier.hang_up(call.provider_call_id)
    event = CallEvent("ENDED", call_id.hex, clock.now(), "api", end_reason="api_hangup")
    flow.finish(CallRef(tenant, call_id), event=event)
    return _shown(tenant, call_id)


def transfer(
    tenant: TenantRef,
    *,
    desk: Desk,
    call_id: UUID,
    target: str,
    timeout_seconds: int,
    on_failure: OnFailure,
) -> Any:
    """Send a live call to a named target of its profile; it comes back if nobody answers there.

    Raises NotFound, CallEnded, NotTalking, UnknownTarget, DiallingRefused, CarrierNotThere, and
    TelephonyError when the carrier does not do it: then the caller stays with the agent.
    """
    ref = CallRef(tenant, call_id)
    with enter(tenant) as session:
        talk = _talking(session, ref)
        carrier = _carrier(session, talk)
        action = transfers.start(
            session,
            ref,
            talk,
            target=target,
            now=clock.now(),
            timeout_s=timeout_seconds,
            on_failure=on_failure,
        )
        turns = len(record.lines(session, call_id))
    try:
        _direct(carrier, desk, ref, talk, (action,), turns)
    except TelephonyError:
        with enter(tenant) as session:
            transfers.take_back(session, ref, record.talk(session, call_id))
        raise
    return _shown(tenant, call_id)


def say(tenant: TenantRef, *, desk: Desk, call_id: UUID, words: str) -> Any:
    """Have a live call's agent say this now; it is a turn of the agent's from then on.

    Raises NotFound, CallEnded, NotTalking, CarrierNotThere, and TelephonyError: then nothing was
    said.
    """
    ref = CallRef(tenant, call_id)
    with enter(tenant) as session:
        talk = _talking(session, ref)
        carrier = _carrier(session, talk)
        turns = len(record.lines(session, call_id))
    profile = talk.profile
    sentence = Say(words, profile["language"], profile["voice"])
    actions = (sentence, greeting.listen(profile))
    _direct(carrier, desk, ref, talk, actions, turns + 1)
    with enter(tenant) as session:
        record.talk(session, call_id)
        record.insert_turn(
            session,
            call_id,
            sequence=len(record.lines(session, call_id)) + 1,
            speaker="agent",
            text=redaction.of(profile.get("redaction")).text(words),
            at=clock.now(),
        )
    return _shown(tenant, call_id)


def press(tenant: TenantRef, *, desk: Desk, call_id: UUID, keys: str) -> Any:
    """Press keys on the line of a live call, as tones; then its agent listens again.

    They may be somebody's secret: they are kept nowhere. Raises NotFound, CallEnded, NotTalking,
    CarrierNotThere, CarrierCannot and TelephonyError.
    """
    ref = CallRef(tenant, call_id)
    with enter(tenant) as session:
        talk = _talking(session, ref)
        carrier = _carrier(session, talk)
        turns = len(record.lines(session, call_id))
    if not carrier.capabilities.send_keys:
        raise CarrierCannot("The call's carrier presses no keys.")
    actions = (SendKeys(keys), greeting.listen(talk.profile))
    _direct(carrier, desk, ref, talk, actions, turns)
    with enter(tenant) as session:
        deeds.note(session, "call", call_id)
    return _shown(tenant, call_id)


def tenants_on_call() -> Sequence[TenantRef]:
    """The tenants that have live calls, and few others, without visiting any."""
    with public() as session:
        return [TenantRef(row[0]) for row in session.execute(_ON_CALL, {"task": CHECK})]


def live_calls(tenant: TenantRef) -> Sequence[CallRef]:
    """The tenant's calls that have no end yet, the oldest first."""
    with enter(tenant) as session:
        found = select(Call.id).where(text(LIVE)).order_by(Call.started_at)
        return [CallRef(tenant, call_id) for call_id in session.scalars(found)]


def hang_up_all(tenants: Sequence[TenantRef]) -> HungUp:
    """End every live call of these tenants, many at a time; what a carrier refuses is counted."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        calls = [ref for found in threads.map(live_calls, tenants) for ref in found]
        deed = deeds.current()  # a thread begins without it
        outcomes = threads.map(lambda ref: _hang_up_quietly(ref, deed), calls)
        return sum(outcomes, HungUp())


def _hang_up_quietly(ref: CallRef, deed: Deed | None) -> HungUp:
    try:
        with deeds.performing(deed):
            hang_up(ref.tenant, call_id=ref.call_id)
    except CallEnded:
        return HungUp()
    except (TelephonyError, DatabaseFailure) as error:
        log.get().warning("call.not_hung_up", call_id=str(ref.call_id), exc_info=error)
        return HungUp(failed=1)
    return HungUp(ended=1)


def _direct(
    carrier: TelephonyAdapter,
    desk: Desk,
    ref: CallRef,
    talk: Row[Any],
    actions: tuple[Action, ...],
    turns: int,
) -> None:
    reply = CallReply(actions, desk.seal(ref, carrier_of(talk), turns=turns))
    carrier.direct(talk.provider_call_id, reply, callback_url=desk.callback_url(carrier.name))


def _talking(session: Session, ref: CallRef) -> Row[Any]:
    """The call, held; it must be one in which the agent and somebody talk."""
    talk = record.talk(session, ref.call_id)
    if talk.status in states.TERMINAL:
        raise CallEnded
    if talk.status != "in_progress" or talk.profile is None:
        raise NotTalking(talk.status)
    return talk


def _carrier(session: Session, talk: Row[Any]) -> TelephonyAdapter:
    carrier = carriers.of_call(session, carrier_of(talk))
    if carrier is None:
        raise CarrierNotThere
    return carrier


def _get(session: Session, call_id: UUID) -> Call:
    call = session.get(Call, call_id)
    if call is None:
        raise NotFound
    return call


def _shown(tenant: TenantRef, call_id: UUID) -> Any:
    """The call with what became of its recording."""
    with enter(tenant) as session:
        return shown.calls(session, [_get(session, call_id)])[0]
