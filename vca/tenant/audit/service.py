"""A tenant's audit: what was done inside its schema, and what was done to it from outside."""

from typing import Any

from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.audit import service
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, public
from vca.tenant.audit.models import Entry

_LISTING = Listing(Entry, (Entry.id,), newest_first=True)


def list_page(tenant: TenantRef, *, page: PageRequest, **filters: Any) -> Page:
    """Both as one list, newest first; two short transactions, since neither can read the other."""
    with enter(tenant) as session:
        inside = _LISTING.page(session, page, service.bounded(filters))
    with public() as session:
        outside = service.list_page(session, page=page, tenant_id=tenant.id, **filters)
    return service.joined((inside, outside), limit=page.limit)
