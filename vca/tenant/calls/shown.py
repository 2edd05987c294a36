"""Calls as they are shown: with what became of their recordings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from vca.tenant.calls import states
from vca.tenant.recordings import service as recordings


@dataclass(frozen=True)
class Recorded:
    """A call, or a row of one, and the status of its recording."""

    call: Any
    recording: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.call, name)


def calls(session: Session, found: Sequence[Any]) -> list[Any]:
    """The same calls; those that are or were recorded tell how that is, by one query for all."""
    recorded = [call.id for call in found if call.recording_status is not None]
    known = recordings.status_of(session, recorded) if recorded else {}
    return [
        Recorded(call, _status(call, known[call.id])) if call.id in known else call
        for call in found
    ]


def _status(call: Any, known: str) -> str:
    live = call.status not in states.TERMINAL
    return "recording" if known == "none" and live else known
