"""Voicemail: what a caller leaves when nobody answers, and word that a recording is there."""

from vca.kit import clock
from vca.telephony.types import CallEvent
from vca.tenancy.session import enter
from vca.tenant.calls import record
from vca.tenant.calls.refs import CallRef
from vca.tenant.messages import service as messages
from vca.tenant.recordings import service as recordings


def left(ref: CallRef, *, recording_id: str | None) -> None:
    """Keep a voicemail as a message, have its audio fetched, and end the call. Raises NotFound.

    Told twice it is one message. A carrier may have told the end of the call before.
    """
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        if messages.is_kept(session, call_id=ref.call_id, kind="voicemail"):
            return
        kept = recordings.expect(
            session,
            call_id=ref.call_id,
            kind="voicemail",
            provider_type=talk.provider_type,
            provider_call_id=talk.provider_call_id,
            telephony_account_id=talk.telephony_account_id,
            provider_recording_id=recording_id,
        )
        messages.take(
            session,
            call_id=ref.call_id,
            kind="voicemail",
            caller_number=talk.caller_number,
            recording_id=kept,
            simulated=talk.simulated,
        )
        now = clock.now()
        event = CallEvent("ENDED", ref.call_id.hex, now, "voicemail", end_reason="voicemail")
        record.happened(session, ref.call_id, event)


def recorded(ref: CallRef, *, recording_id: str | None) -> None:
    """Note that the carrier has the call's recording, and have it fetched. Raises NotFound."""
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        if talk.recording_status == "recording":
            recordings.expect(
                session,
                call_id=ref.call_id,
                kind="call",
                provider_type=talk.provider_type,
                provider_call_id=talk.provider_call_id,
                telephony_account_id=talk.telephony_account_id,
                provider_recording_id=recording_id,
            )
