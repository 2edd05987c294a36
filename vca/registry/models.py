"""All tables of the public schema in one metadata, for Alembic."""

from vca.registry import deployment
from vca.registry.api_keys import models as api_keys
from vca.registry.base import PublicBase
from vca.registry.dids import models as dids
from vca.registry.idempotency import models as idempotency
from vca.registry.tenants import models as tenants
from vca.registry.usage import models as usage
from vca.registry.webhooks import models as webhooks

__all__ = [
    "api_keys",
    "deployment",
    "dids",
    "idempotency",
    "metadata",
    "tenants",
    "usage",
    "webhooks",
]

metadata = PublicBase.metadata
