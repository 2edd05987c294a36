"""Store voicemails, and fetch call recordings when carriers report them."""

from vca.kit import clock
from vca.services import Services
from vca.telephony.types import CallEvent
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.messages import service as messages
from vca.tenant.recordings import service as recordings


def store_voicemail(
    ref: CallRef, *, services: Services, recording_id: str | None, text: str = ""
) -> None:
    """Store a voicemail as a message, schedule the download of its audio and end the call.

    The voicemail of a simulated call has no audio. Its `text`, what the caller typed, is the reason
    of the message. Idempotent. The carrier may have reported the end of the call before. Raises
    NotFound.
    """
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if messages.exists_for_call(session, call_id=ref.call_id, kind="voicemail"):
            return
        stored_recording_id = (
            None
            if call_context.simulated
            else recordings.create_pending(
                session,
                call_id=ref.call_id,
                kind="voicemail",
                provider_type=call_context.account.provider_type,
                provider_call_id=call_context.placed_call_id,
                telephony_account_id=call_context.account.account_id,
                provider_recording_id=recording_id,
            )
        )
        messages.create(
            session,
            call_id=ref.call_id,
            kind="voicemail",
            caller_number=call_context.caller_number,
            reason=text if call_context.simulated else None,
            recording_id=stored_recording_id,
            simulated=call_context.simulated,
            services=services,
        )
        now = clock.now()
        event = CallEvent("ENDED", ref.call_id.hex, now, "voicemail", end_reason="voicemail")
        record.apply_event(session, ref.call_id, event, services=services)


def schedule_recording_fetch(ref: CallRef, *, services: Services, recording_id: str | None) -> None:
    """Schedule the download of a call's recording, because the carrier reports it.

    Raises NotFound.
    """
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.recording_status == "recording":
            recordings.create_pending(
                session,
                call_id=ref.call_id,
                kind="call",
                provider_type=call_context.account.provider_type,
                provider_call_id=call_context.placed_call_id,
                telephony_account_id=call_context.account.account_id,
                provider_recording_id=recording_id,
            )
