"""Building blocks of all routes: blueprint, strict parser, schemas, pagination, access."""

from vca.kit.web.access import Access, access
from vca.kit.web.blueprint import Blueprint, created_response
from vca.kit.web.pagination import PageQuery
from vca.kit.web.schema import Schema

__all__ = [
    "Access",
    "Blueprint",
    "PageQuery",
    "Schema",
    "access",
    "created_response",
]
