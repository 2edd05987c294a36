"""The check of a changed profile that packages above this one register.

Only they know which phone numbers a profile answers, and what their carriers can do.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from vca.tenant.ai_profiles.models import AiProfile

# Raises Conflict if the profile may not be used as it is.
ProfileCheck = Callable[[Session, AiProfile], None]

_current: ProfileCheck | None = None


def set_current_check(check: ProfileCheck) -> None:
    """Set the check of this process."""
    global _current
    _current = check


def run_check(session: Session, profile: AiProfile) -> None:
    """Check a profile after each change. Raises RuntimeError if no check is set."""
    if _current is None:
        raise RuntimeError("no check of profiles is set")
    _current(session, profile)
