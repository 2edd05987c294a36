"""Prepare calls for the API: add the recording status, and mark a call that was just placed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from vca.tenant.calls.core import state_machine
from vca.tenant.recordings import service as recordings


@dataclass(frozen=True)
class CallWithRecording:
    """A call, or a row of one, with the status of its recording."""

    call: Any
    recording: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.call, name)


@dataclass(frozen=True)
class PlacedCall:
    """A call for the key that has just placed it, which sees the metadata that it sent."""

    call: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.call, name)


def add_recording_status(session: Session, calls: Sequence[Any]) -> list[Any]:
    """Return the calls, with the status of their recordings where there are any, in one query."""
    recorded_ids = [call.id for call in calls if call.recording_status is not None]
    statuses = recordings.statuses_by_call(session, recorded_ids) if recorded_ids else {}
    return [
        CallWithRecording(call, _recording_status(call, statuses[call.id]))
        if call.id in statuses
        else call
        for call in calls
    ]


def _recording_status(call: Any, recording_status: str) -> str:
    live = call.status not in state_machine.TERMINAL
    return "recording" if recording_status == "none" and live else recording_status
