"""Requests for the operations of the OpenAPI document, with the key that each one needs.

The operations are read from the document, so the tests include future operations.
"""

import re
from uuid import uuid4

from tests.support.api import Api, ApiResponse
from tests.support.operations import Operation, build_body
from tests.support.populated_tenant import PopulatedTenant, body_values
from vca.kit import json

_NEEDED_KEY = re.compile(r"Needs a (platform )?key with scope `(\w+)`")
# Reading content inserts audit entries, which do not count as a change.
AUDIT_TABLE = "audit_entries"


def needed_key(operation: Operation) -> tuple[bool, str | None]:
    """Return (whether a platform key is needed, the scope) from the document."""
    match = _NEEDED_KEY.search(operation.specification.get("description", ""))
    return (bool(match[1]), match[2]) if match else (False, None)


def operations_with_key(catalogue: list[Operation]) -> list[Operation]:
    return [operation for operation in catalogue if operation.needs_key]


def send_operation(
    api: Api,
    operation: Operation,
    populated_tenant: PopulatedTenant,
    ids: dict[str, str] | None = None,
    *,
    key: str | None = None,
) -> ApiResponse:
    """Send the operation with a valid body."""
    body = (
        build_body(operation, body_values(populated_tenant), as_platform=False)
        if operation.fields
        else None
    )
    data = json.dumps(body) if body is not None else None
    headers = {"Content-Type": "application/json"} if data else {}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    url = operation.url({**populated_tenant.ids, **(ids or {})})
    return api.send(operation.method, url, data=data, headers=headers)


def unknown_ids(populated_tenant: PopulatedTenant) -> dict[str, str]:
    """Return ids that do not exist in the tenant, so that an accepted request changes nothing."""
    return {name: str(uuid4()) for name in populated_tenant.ids if name != "tenant_id"}


def status_and_code(response: ApiResponse) -> tuple[int, str | None]:
    return response.status_code, response.json["code"] if response.status_code >= 400 else None
