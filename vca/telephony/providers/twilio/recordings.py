"""Recordings at Twilio: fetch and delete them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vca.telephony.adapter import TelephonyError, limit_size
from vca.telephony.providers.twilio import errors
from vca.telephony.types import Recording

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import RestSession

_READY = "completed"
_MAX_LISTED = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fetch(session: "RestSession", call_sid: str, recording_sid: str | None) -> Recording | None:
    """Fetch a recording; see `TelephonyAdapter.fetch_recording`."""
    recording = _find_recording(session, call_sid, recording_sid)
    if recording is None or str(recording.status) != _READY:
        return None
    # Twilio rejects a request for more channels than the recording has.
    channels = 2 if recording.channels == 2 else 1
    try:
        chunks = session.download_media(
            f"Recordings/{recording.sid}.wav", RequestedChannels=channels
        )
    except TelephonyError as error:
        if error.code not in (errors.NOT_FOUND, "http-404"):
            raise
        return None
    return Recording("audio/wav", limit_size(chunks))


def delete(session: "RestSession", call_sid: str, recording_sid: str | None) -> None:
    """Delete a recording; see `TelephonyAdapter.delete_recording`."""
    recording = _find_recording(session, call_sid, recording_sid)
    if recording is None:
        return
    try:
        session.client.recordings(recording.sid).delete()
    except TelephonyError as error:
        if error.code not in (errors.NOT_FOUND, "http-404"):
            raise


def _find_recording(session: "RestSession", call_sid: str, recording_sid: str | None) -> Any | None:
    """Return the recording with this SID, or the call's first one.

    None if there is none, or if it belongs to another call.
    """
    try:
        if recording_sid is None:
            recordings = session.client.calls(call_sid).recordings.list(limit=_MAX_LISTED)
            return min(
                recordings, key=lambda recording: recording.date_created or _EPOCH, default=None
            )
        recording = session.client.recordings(recording_sid).fetch()
    except TelephonyError as error:
        if error.code != errors.NOT_FOUND:
            raise
        return None
    return recording if recording.call_sid == call_sid else None
