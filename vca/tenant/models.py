"""All tables of a tenant's schema in one metadata, for Alembic."""

from vca.tenant.ai_profiles import models as ai_profiles
from vca.tenant.base import TenantBase
from vca.tenant.calls import models as calls
from vca.tenant.phone_numbers import models as phone_numbers
from vca.tenant.settings import models as settings

__all__ = ["ai_profiles", "calls", "metadata", "phone_numbers", "settings"]

metadata = TenantBase.metadata
