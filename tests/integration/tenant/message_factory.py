"""A helper that stores messages of callers."""

from typing import Any
from uuid import UUID, uuid4

from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.tenancy.session import tenant_session
from vca.tenant.messages import service

CALLER = "+14155550123"


def create_message(tenant: Tenant, **fields: Any) -> UUID:
    message_fields = {"call_id": uuid4(), "kind": "message", "caller_number": CALLER, **fields}
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return service.create(session, **message_fields, services=app_services()).id
