"""Read the audit: the newest first, one table's or two as one."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.audit.models import PlatformEntry

_LISTING = Listing(PlatformEntry, (PlatformEntry.id,), newest_first=True)


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """What was done in `public`, to whichever tenant."""
    return _LISTING.page(session, page, filters)


def joined(pages: Iterable[Page], *, limit: int) -> Page:
    """Pages of the same place in several lists, as the page of the list of all of them."""
    found = list(pages)
    items = sorted((row for each in found for row in each.items), key=_id, reverse=True)
    more = len(items) > limit or any(each.next_after for each in found)
    return Page(items[:limit], (_id(items[limit - 1]),) if more else None)


def _id(row: Any) -> UUID:
    found: UUID = row.id
    return found
