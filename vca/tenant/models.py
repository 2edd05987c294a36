"""All tables of a tenant's schema in one metadata, for Alembic."""

from collections.abc import Callable, Mapping
from typing import Any

from vca.tenant.ai_profiles import models as ai_profiles
from vca.tenant.base import TenantBase
from vca.tenant.calls import models as calls
from vca.tenant.idempotency import models as idempotency
from vca.tenant.messages import models as messages
from vca.tenant.phone_numbers import models as phone_numbers
from vca.tenant.recordings import models as recordings
from vca.tenant.settings import models as settings

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
]

metadata = TenantBase.metadata
# The columns that are kept encrypted, by table and name, each with what tells whether a value can
# be read with this deployment's keys. There is none yet.
ENCRYPTED: Mapping[tuple[str, str], Callable[[Any], bool]] = {}
