"""Every operation with a cap returns 409 at the cap, for tenants' and for platform keys."""

import pytest
from sqlalchemy import text

from tests.integration.api.authorization.operation_requests import needed_key, send_operation
from tests.support import admin_db
from tests.support.caps import set_cap
from tests.support.factories import Factory, Platform
from tests.support.operations import Operation
from tests.support.populated_tenant import PopulatedTenant
from vca.registry.caps import CAPS


@pytest.mark.parametrize("name", [cap.name for cap in CAPS.values() if cap.operations])
def test_an_operation_at_its_cap_is_refused(
    name: str,
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    world: Factory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_cap(monkeypatch, name, 0)
    world.sql(populated_acme.tenant, "UPDATE webhooks SET is_active = true")
    with admin_db.public_session() as session:
        session.execute(text("UPDATE public.webhooks SET is_active = true"))
    capped = [
        operation
        for operation in all_operations
        if operation.specification["operationId"] in CAPS[name].operations
    ]
    assert len(capped) == len(CAPS[name].operations)

    for operation in capped:
        needs_platform_key, _ = needed_key(operation)
        keys = [platform.key] if needs_platform_key else [platform.key, populated_acme.tenant.key]
        for key in keys:
            ids = dict(populated_acme.path_ids(operation.path))
            response = send_operation(world.api(None), operation, populated_acme, ids, key=key)
            assert response.status_code == 409, f"{operation.name}: {response.text}"
            assert response.json["code"] == (CAPS[name].code or "limit-reached")
            assert response.json["limit"] == name
