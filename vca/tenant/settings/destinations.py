"""The settings that say where content is sent: another destination needs the scope `content`."""

from collections.abc import Collection, Mapping
from typing import Any

from vca.kit.web.access import ScopedField, require_field_scopes
from vca.tenant.settings.models import Settings

# Messages are mailed to the address. Without one they are sent nowhere.
_FIELDS = (ScopedField("/notification_email", "content", lambda old, new: new is not None),)


def read_destinations(settings: Settings) -> dict[str, Any]:
    """Return where the settings send content now."""
    return {"notification_email": settings.notification_email}


def require_scope(
    before: Mapping[str, Any], settings: Settings, *, scopes: Collection[str]
) -> None:
    """Raise ScopeMissing if the change needs a scope that the key does not have.

    `before` are the destinations before the change.
    """
    require_field_scopes(_FIELDS, scopes=scopes, old=before, new=read_destinations(settings))
