"""All tables of a tenant's schema in one metadata, for Alembic."""

from collections.abc import Callable, Mapping
from typing import Any

from vca.kit import at_rest
from vca.tenant.ai_profiles import models as ai_profiles
from vca.tenant.base import TenantBase
from vca.tenant.calls import models as calls
from vca.tenant.idempotency import models as idempotency
from vca.tenant.messages import models as messages
from vca.tenant.phone_numbers import models as phone_numbers
from vca.tenant.recordings import models as recordings
from vca.tenant.settings import models as settings
from vca.tenant.webhooks import models as webhooks

__all__ = [
    "ENCRYPTED",
    "ai_profiles",
    "calls",
    "idempotency",
    "messages",
    "metadata",
    "phone_numbers",
    "recordings",
    "settings",
    "webhooks",
]

metadata = TenantBase.metadata


def _has_our_key(value: Any) -> bool:
    return at_rest.current().knows(bytes(value))


# The columns that are kept encrypted, by table and name, each with what tells whether a value can
# be read with this deployment's keys.
ENCRYPTED: Mapping[tuple[str, str], Callable[[Any], bool]] = {
    ("webhooks", "secret"): _has_our_key,
    ("webhooks", "previous_secret"): _has_our_key,
}
