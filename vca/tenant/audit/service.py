"""Read a tenant's audit log: entries of its own schema and of the platform."""

from typing import Any

from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.audit import service
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.audit.models import AuditEntry

_LISTING = Listing(AuditEntry, (AuditEntry.id,), newest_first=True)


def list_page(tenant: TenantRef, *, services: Services, page: PageRequest, **filters: Any) -> Page:
    """Return a page of both logs merged, newest first.

    Two short transactions are used because neither session can read the other schema.
    """
    with tenant_session(tenant, database=services.database) as session:
        tenant_page = _LISTING.page(session, page, service.bound_ids(filters))
    with public_session(database=services.database) as session:
        platform_page = service.list_page(session, page=page, tenant_id=tenant.id, **filters)
    return service.merge_pages((tenant_page, platform_page), limit=page.limit)
