"""Recordings at Twilio: found, fetched as they come, deleted."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vca.telephony.adapter import TelephonyError, bounded
from vca.telephony.providers.twilio import errors
from vca.telephony.types import Recording

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import Asking

_READY = "completed"
_MOST_LISTED = 50
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def fetch(asking: "Asking", call_sid: str, recording_sid: str | None) -> Recording | None:
    """See `TelephonyAdapter.recording`."""
    found = _find(asking, call_sid, recording_sid)
    if found is None or str(found.status) != _READY:
        return None
    # Who asks for more channels than there are is refused.
    channels = 2 if found.channels == 2 else 1
    try:
        pieces = asking.media(f"Recordings/{found.sid}.wav", RequestedChannels=channels)
    except TelephonyError as error:
        if error.code not in (errors.NOT_FOUND, "http-404"):
            raise
        return None
    return Recording("audio/wav", bounded(pieces))


def delete(asking: "Asking", call_sid: str, recording_sid: str | None) -> None:
    """See `TelephonyAdapter.delete_recording`."""
    found = _find(asking, call_sid, recording_sid)
    if found is None:
        return
    try:
        asking.client.recordings(found.sid).delete()
    except TelephonyError as error:
        if error.code not in (errors.NOT_FOUND, "http-404"):
            raise


def _find(asking: "Asking", call_sid: str, recording_sid: str | None) -> Any | None:
    """The recording of this id, or the call's first; one of another call is none."""
    try:
        if recording_sid is None:
            listed = asking.client.calls(call_sid).recordings.list(limit=_MOST_LISTED)
            return min(listed, key=lambda it: it.date_created or _LONG_AGO, default=None)
        found = asking.client.recordings(recording_sid).fetch()
    except TelephonyError as error:
        if error.code != errors.NOT_FOUND:
            raise
        return None
    return found if found.call_sid == call_sid else None
