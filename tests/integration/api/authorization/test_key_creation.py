"""Creating API keys: a key grants no more than it has, and shows its secret once."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.api.authorization.operation_requests import status_and_code
from tests.support.api import Api
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant, assert_created
from vca.registry.api_keys.models import SCOPES


def _key_creation_urls(acme: Tenant) -> list[tuple[str, str | None]]:
    """Return the URLs that create keys, each with the owner of a key that may use it."""
    return [
        (acme.url("/api-keys"), acme.id),
        (acme.url("/api-keys"), None),
        ("/api/api-keys", None),
    ]


def test_a_key_cannot_grant_a_scope_that_it_does_not_have(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    for url, owner_id in _key_creation_urls(acme):
        client = world.api(world.key(owner_id, scopes=["admin", "read"]))
        count = db_snapshot.rows("SELECT count(*) FROM public.api_keys")
        for scopes in (["write"], ["content"], ["read", "write"], list(SCOPES)):
            response = client.post(url, {"name": "more", "scopes": scopes})
            assert status_and_code(response) == (403, "scope-exceeded")
        assert db_snapshot.rows("SELECT count(*) FROM public.api_keys") == count

        assert assert_created(client.post(url, {"name": "same"}))["scopes"] == ["read", "admin"]
        assert assert_created(client.post(url, {"name": "less", "scopes": ["read"]}))["scopes"] == [
            "read"
        ]


def test_a_key_cannot_create_a_key_that_expires_later(acme: Tenant, world: Factory) -> None:
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)

    def create_child_key(client: Api, url: str, **fields: Any) -> tuple[int, str | None]:
        response = client.post(url, {"name": "child", **fields})
        return response.status_code, response.json.get("expires_at")

    for url, owner_id in _key_creation_urls(acme):
        client = world.api(world.key(owner_id, expires_at=expires_at))

        assert create_child_key(client, url) == (201, "2030-01-01T00:00:00Z")
        assert create_child_key(client, url, expires_at=None) == (201, "2030-01-01T00:00:00Z")
        earlier = "2029-12-31T23:59:59Z"
        assert create_child_key(client, url, expires_at=earlier) == (201, earlier)
        for too_late in (
            "2030-01-01T00:00:01Z",
            "2030-01-01T00:00:00-01:00",
            "8999-01-01T00:00:00Z",
        ):
            assert create_child_key(client, url, expires_at=too_late) == (403, None)


def test_a_tenants_key_creates_keys_of_its_own_tenant_only(
    acme: Tenant, globex: Tenant, world: Factory
) -> None:
    new = assert_created(acme.post("/api-keys", {"name": "mine"}))

    assert new["tenant_id"] == acme.id
    assert status_and_code(acme.api.post("/api/api-keys", {"name": "x"})) == (
        403,
        "platform-key-needed",
    )
    assert status_and_code(acme.api.post(globex.url("/api-keys"), {"name": "x"})) == (
        404,
        "not-found",
    )
    assert world.api(new["key"]).get(globex.url("/calls")).status_code == 404


@pytest.mark.parametrize("path", ["/api/api-keys", "{tenant}/api-keys"])
def test_the_secret_of_a_key_is_returned_once_and_not_stored(
    path: str, acme: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    url = path.replace("{tenant}", acme.url())

    new = assert_created(platform.api.post(url, {"name": "once"}))

    assert new["key"].startswith(new["prefix"])
    secret = new["key"][13:45]
    assert secret not in platform.api.get(url, limit=100).text
    rows = db_snapshot.rows(
        "SELECT to_jsonb(k)::text FROM public.api_keys k WHERE id = %s", new["id"]
    )
    assert secret not in rows[0][0]
