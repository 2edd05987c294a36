"""Tests of recordings and encrypted columns that an import may or may not use."""

import os
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.integration.registry.archive.conftest import imported_tenant_with_key
from tests.support.factories import Factory, fresh_number
from tests.support.populated_tenant import PopulatedTenant
from tests.support.services import app_services, use_services
from tests.support.tenants_cli import TenantsCli
from vca.kit import clock, encryption
from vca.kit.encryption import DecryptionError
from vca.registry.webhooks import endpoints
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import decision_webhook
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.privacy import requests
from vca.tenant.webhooks import tenant_scope
from vca.tenant.webhooks.models import Webhook


def _signing_secrets(tenant_id: str) -> list[tuple[str, ...]]:
    """Return the signing secrets of a tenant's webhooks and of its decision webhooks, in order."""
    tenant, now = TenantRef(UUID(tenant_id)), clock.now()
    with tenant_session(tenant, database=app_services().database) as session:
        return [
            *(
                tuple(
                    endpoints.signing_secrets(
                        tenant_scope.for_tenant(tenant), row, now=now, services=app_services()
                    )
                )
                for row in session.scalars(select(Webhook).order_by(Webhook.id))
            ),
            *(
                decision_webhook.signing_secrets(
                    number.decision_secret,
                    tenant_id=tenant.id,
                    phone_number_id=number.id,
                    now=now,
                    services=app_services(),
                )
                for number in session.scalars(select(PhoneNumber).order_by(PhoneNumber.id))
                if number.decision_secret is not None
            ),
        ]


def test_a_copy_of_a_tenant_has_no_access_to_recordings_of_the_original(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    recording_path = f"/calls/{populated_tenant.ids['call_id']}/recording"
    original_audio = populated_tenant.tenant.get(recording_path)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    copy = imported_tenant_with_key(
        template_world, tenants_cli.invoke_json("import", archive_path)["tenant_id"]
    )
    restored = imported_tenant_with_key(
        template_world,
        tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")["tenant_id"],
    )

    assert original_audio.status_code == 200
    assert original_audio.data not in archive_path.read_bytes()
    missing = copy.get(recording_path)
    assert (missing.status_code, missing.json["code"]) == (404, "recording-missing")
    assert restored.get(recording_path).data == original_audio.data
    purged = tenants_cli.invoke_json("erase", copy.id, "--yes")
    assert purged["removed"]["files"] == 0
    assert restored.get(recording_path).status_code == 200


def test_an_import_preserves_signing_secrets_under_a_new_id_and_the_same_id(
    tenants_cli: TenantsCli, populated_tenant: PopulatedTenant, archive_path: Path
) -> None:
    before = _signing_secrets(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    copy = tenants_cli.invoke_json("import", archive_path)
    restored = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    assert [len(secrets) for secrets in before] == [2, 2, 1]
    assert _signing_secrets(copy["tenant_id"]) == _signing_secrets(restored["tenant_id"]) == before
    assert copy["unreadable_columns"] == restored["unreadable_columns"] == []


def test_an_import_reports_columns_that_the_keyring_cannot_decrypt(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tenant_session(populated_tenant.tenant.ref, database=app_services().database) as session:
        requests.create_request(
            session,
            populated_tenant.tenant.ref,
            kind="erasure",
            number=fresh_number(),
            now=clock.now(),
            services=app_services(),
        )
    before = _signing_secrets(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    keyring = app_services().keyring
    use_services(keyring=encryption.Keyring([os.urandom(32)]))

    copy = tenants_cli.invoke_json("import", archive_path)
    restored = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    columns = app_services().lifecycle_hooks.encrypted_columns
    for imported in (copy, restored):
        assert imported["unreadable_columns"] == [".".join(column) for column in columns]
    assert len(columns) == 5
    with pytest.raises(DecryptionError):
        _signing_secrets(copy["tenant_id"])
    use_services(keyring=keyring)
    assert _signing_secrets(populated_tenant.tenant.id) == before
