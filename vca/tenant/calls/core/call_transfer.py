"""The latest transfer of a call, as its row stores it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

OnFailure = Literal["return", "message", "fallback"]


@dataclass(frozen=True, slots=True)
class CallTransfer:
    """A transfer to a named target of the call's profile.

    `on_failure` says what follows if nobody answers within `timeout_s`. `status` is `dialling`
    until the transfer is settled, and then its result.
    """

    target: str
    number: str
    timeout_s: int
    on_failure: OnFailure
    status: str
    started_at: datetime

    @staticmethod
    def from_dict(stored: Mapping[str, Any] | None) -> "CallTransfer | None":
        """Return the transfer that a call's row stores, or None."""
        if stored is None:
            return None
        return CallTransfer(
            stored["target"],
            stored["number"],
            stored["timeout_seconds"],
            stored["on_failure"],
            stored["status"],
            datetime.fromisoformat(stored["started_at"]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what the call's row stores."""
        return {
            "target": self.target,
            "number": self.number,
            "timeout_seconds": self.timeout_s,
            "on_failure": self.on_failure,
            "status": self.status,
            "started_at": self.started_at.isoformat(),
        }

    def with_status(self, status: str) -> "CallTransfer":
        """Return the transfer with another status."""
        return replace(self, status=status)
