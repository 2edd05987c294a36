"""A caller on the way to somebody else, and back when nobody answers there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row
from sqlalchemy.orm import Session

from vca.conversation import wording
from vca.kit import crash
from vca.kit.errors import Conflict
from vca.telephony.types import Action, CallEvent, Forward, HangUp, LegOutcome, Say, Transfer
from vca.tenant.calls import greeting, legs, metering, record, telling
from vca.tenant.calls.legs import DiallingRefused
from vca.tenant.calls.refs import CallRef, Outcome

OnFailure = Literal["return", "message", "fallback"]
TIMEOUT_S = 25


class UnknownTarget(Conflict):
    """The call's profile has no transfer target of that name."""

    code = "unknown-target"

    def __init__(self) -> None:
        super().__init__("The call's AI profile has no transfer target of that name.")


def start(
    session: Session,
    ref: CallRef,
    talk: Row[Any],
    *,
    target: str,
    now: datetime,
    timeout_s: int = TIMEOUT_S,
    on_failure: OnFailure = "return",
) -> Transfer:
    """Put the call on its way to a named target; the caller holds the call's row.

    Raises UnknownTarget, and DiallingRefused by the tenant's policy. A simulated call is on its way
    too, and no leg is counted.
    """
    known: Mapping[str, Any] = talk.profile["transfer_targets"]
    if target not in known:
        raise UnknownTarget
    number = str(known[target]["number"])
    if not talk.simulated:
        legs.check(
            session, number, kind="transfer", call_id=ref.call_id, from_number=own_number(talk)
        )
    order = {
        "target": target,
        "number": number,
        "timeout_seconds": timeout_s,
        "on_failure": on_failure,
        "status": "dialling",
        "started_at": now.isoformat(),
    }
    record.note(session, ref.call_id, status="transferring", transfer=order)
    crash.point("calls.transfer.started")
    return Transfer(number, timeout_s)


def pending(talk: Row[Any]) -> Transfer | None:
    """The transfer that the call is on, if it is on one."""
    order = talk.transfer
    if talk.status != "transferring" or order is None:
        return None
    return Transfer(order["number"], order["timeout_seconds"])


def returned(
    session: Session,
    ref: CallRef,
    talk: Row[Any],
    *,
    leg: LegOutcome,
    after: int | None,
    now: datetime,
) -> Outcome:
    """What happens once the leg has ended; the caller holds the call's row.

    Told twice it is the same: a call that is no longer on its way goes on with what the agent said
    after so many turns.
    """
    if pending(talk) is None:
        return _gone_on(session, ref, talk, after)
    if leg == "answered":
        _settle(session, ref, talk, "completed")
        event = CallEvent("ENDED", ref.call_id.hex, now, "transfer", end_reason="transferred")
        record.happened(session, ref.call_id, event)
        return Outcome(ref, (HangUp(),))
    return failed(session, ref, talk, why=leg, now=now)


def _gone_on(session: Session, ref: CallRef, talk: Row[Any], after: int | None) -> Outcome:
    profile = talk.profile
    turns = record.lines(session, ref.call_id)
    since = turns[after:] if after is not None else ()
    again = [Say(each.text, profile["language"], profile["voice"]) for each in since[:1]]
    said = again if since and since[0].speaker == "agent" else []
    return Outcome(ref, (*said, greeting.listen(profile)), len(turns))


def failed(session: Session, ref: CallRef, talk: Row[Any], *, why: str, now: datetime) -> Outcome:
    """Bring the caller back: to the agent, to a message, or to the number's fallback."""
    _settle(session, ref, talk, why)
    wanted: OnFailure = talk.transfer["on_failure"]
    if wanted == "fallback":
        actions = _fallback(session, ref, talk, now=now)
        if actions:
            return Outcome(ref, actions)
    sentence: wording.Sentence = "leave_message" if wanted == "message" else "not_connected"
    return _say(session, ref, talk, sentence, now=now)


def told_late(session: Session, ref: CallRef, talk: Row[Any], *, leg: LegOutcome) -> None:
    """The call has ended before its carrier told how the leg did; the caller holds the call's row.

    A leg that was answered has lasted until then.
    """
    order = talk.transfer
    if leg == "answered" and order is not None and order["status"] == "dialling":
        record.note(session, ref.call_id, transfer={**order, "status": "completed"})
        metering.transferred(session, ref.call_id)
        telling.transferred(session, ref, talk, target=order["target"], came="completed")


def take_back(session: Session, ref: CallRef, talk: Row[Any]) -> None:
    """The carrier did not do it: the caller has stayed with the agent. The leg counts all the same.

    The caller holds the call's row.
    """
    if pending(talk) is not None:
        _settle(session, ref, talk, "carrier_error")


def not_connected(
    session: Session, ref: CallRef, talk: Row[Any], *, now: datetime
) -> tuple[Action, ...]:
    """The agent says that it cannot connect, and listens."""
    return _say(session, ref, talk, "not_connected", now=now).actions


def own_number(talk: Row[Any]) -> str:
    """The tenant's number of the call: the one that was called, or that we call from."""
    number = talk.called_number if talk.direction == "inbound" else talk.caller_number
    return str(number)


def _settle(session: Session, ref: CallRef, talk: Row[Any], status: str) -> None:
    order = {**talk.transfer, "status": status}
    record.note(session, ref.call_id, status="in_progress", transfer=order)
    telling.transferred(session, ref, talk, target=order["target"], came=status)


def _fallback(
    session: Session, ref: CallRef, talk: Row[Any], *, now: datetime
) -> tuple[Action, ...]:
    number = talk.fallback_number
    if number is None:
        return ()
    if not talk.simulated:
        try:
            legs.check(
                session, number, kind="forward", call_id=ref.call_id, from_number=own_number(talk)
            )
        except DiallingRefused:
            return ()
    event = CallEvent("ENDED", ref.call_id.hex, now, "fallback", end_reason="transferred")
    record.happened(session, ref.call_id, event)
    return (Forward(number),)


def _say(
    session: Session,
    ref: CallRef,
    talk: Row[Any],
    sentence: wording.Sentence,
    *,
    now: datetime,
) -> Outcome:
    profile = talk.profile
    text = wording.say(sentence, profile["language"] or "en")
    sequence = len(record.lines(session, ref.call_id)) + 1
    record.insert_turn(session, ref.call_id, sequence=sequence, speaker="agent", text=text, at=now)
    say = Say(text, profile["language"], profile["voice"])
    return Outcome(ref, (say, greeting.listen(profile)), sequence)
