"""All tables of a tenant's schema in one metadata object, for Alembic."""

from vca.tenant.ai_profiles import models as ai_profiles
from vca.tenant.audit import models as audit
from vca.tenant.base import TenantBase
from vca.tenant.calls.core import models as calls
from vca.tenant.idempotency import models as idempotency
from vca.tenant.messages import models as messages
from vca.tenant.phone_numbers import models as phone_numbers
from vca.tenant.privacy import models as privacy
from vca.tenant.recordings import models as recordings
from vca.tenant.settings import models as settings
from vca.tenant.telephony_accounts import models as telephony_accounts
from vca.tenant.usage import models as usage
from vca.tenant.webhooks import models as webhooks

__all__ = [
    "ai_profiles",
    "audit",
    "calls",
    "idempotency",
    "messages",
    "metadata",
    "phone_numbers",
    "privacy",
    "recordings",
    "settings",
    "telephony_accounts",
    "usage",
    "webhooks",
]

metadata = TenantBase.metadata
