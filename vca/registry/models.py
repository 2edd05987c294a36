"""All tables of the public schema in one metadata object, for Alembic."""

from vca.registry import deployment
from vca.registry.api_keys import models as api_keys
from vca.registry.audit import models as audit
from vca.registry.base import PublicBase
from vca.registry.idempotency import models as idempotency
from vca.registry.model_checks import models as model_checks
from vca.registry.number_registry import models as number_registry
from vca.registry.rate_limits import models as rate_limits
from vca.registry.relay_slots import models as relay_slots
from vca.registry.tenants import models as tenants
from vca.registry.usage import models as usage
from vca.registry.webhooks import models as webhooks

__all__ = [
    "api_keys",
    "audit",
    "deployment",
    "idempotency",
    "metadata",
    "model_checks",
    "number_registry",
    "rate_limits",
    "relay_slots",
    "tenants",
    "usage",
    "webhooks",
]

metadata = PublicBase.metadata
