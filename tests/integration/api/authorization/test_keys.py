"""API keys that are accepted or rejected, and the time of their last use."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Flask

from tests.integration.api.authorization.operation_requests import send_operation
from tests.support.api import Api
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant, assert_created
from tests.support.operations import Operation
from tests.support.populated_tenant import PopulatedTenant
from tests.support.services import app_services
from vca.registry.api_keys import service as api_keys
from vca.tenancy.session import public_session


def _unknown_key(world: Factory, tenant_id: str | None) -> str:
    """Return a key with a correct checksum that is not stored."""
    with public_session(database=app_services().database) as session:
        _, key = api_keys.create(session, name="x", tenant_id=None, pepper="any")
        session.rollback()
    return key


def _expired_key(world: Factory, tenant_id: str | None) -> str:
    return world.key(tenant_id, expires_at=datetime.now(UTC) - timedelta(seconds=1))


def _revoked_key(world: Factory, tenant_id: str | None) -> str:
    key = world.key(tenant_id)
    key_details = world.api(key).get("/api/me").json
    with public_session(database=app_services().database) as session:
        api_keys.revoke(
            session,
            tenant_id=UUID(tenant_id) if tenant_id else None,
            key_id=UUID(key_details["id"]),
            now=datetime.now(UTC),
        )
    return key


def _key_of_other_pepper(world: Factory, tenant_id: str | None) -> str:
    with public_session(database=app_services().database) as session:
        _, key = api_keys.create(
            session,
            name="x",
            tenant_id=UUID(tenant_id) if tenant_id else None,
            pepper="a pepper that this deployment does not know",
        )
    return key


def _key_with_other_secret(world: Factory, tenant_id: str | None) -> str:
    """Return the prefix of one key with the secret of another, and a correct checksum."""
    first_key, second_key = world.key(tenant_id), world.key(tenant_id)
    text = first_key[:13] + second_key[13:46]
    return f"{text}{api_keys._checksum(text[:-1])}"


BAD_KEYS: dict[str, Callable[[Factory, str | None], str | None]] = {
    "none": lambda world, tenant_id: None,
    "empty": lambda world, tenant_id: "",
    "malformed": lambda world, tenant_id: "vca_not-a-key",
    "cut": lambda world, tenant_id: world.key(tenant_id)[:-1],
    "wrong checksum": lambda world, tenant_id: _with_wrong_checksum(world.key(tenant_id)),
    "unknown": _unknown_key,
    "other secret": _key_with_other_secret,
    "expired": _expired_key,
    "revoked": _revoked_key,
    "other pepper": _key_of_other_pepper,
}


def _with_wrong_checksum(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def test_every_bad_key_gets_the_same_response(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    problems = []
    for kind, create_bad_key in BAD_KEYS.items():
        for owner_id, path in (
            (acme.id, acme.url("/calls")),
            (None, "/api/tenants"),
            (None, "/api/me"),
        ):
            response = world.api(create_bad_key(world, owner_id)).get(path)

            assert response.status_code == 401, kind
            assert response.headers["WWW-Authenticate"] == "Bearer"
            problems.append({**response.json, "request_id": None})
    deleted = world.tenant("Deleted")
    platform.api.patch(deleted.url(), {"status": "deleted"})
    for path in (deleted.url("/calls"), "/api/me"):
        problems.append({**deleted.api.get(path).json, "request_id": None})

    assert all(problem == problems[0] for problem in problems)
    assert problems[0]["code"] == "unauthorized"


def test_of_these_bad_keys_only_the_wrong_checksum_is_malformed(
    world: Factory, acme: Tenant
) -> None:
    assert api_keys._is_well_formed(_key_with_other_secret(world, acme.id))
    assert api_keys._is_well_formed(_unknown_key(world, None))
    assert not api_keys._is_well_formed(_with_wrong_checksum(world.key(None)))


def test_an_operation_returns_401_without_a_key_only_if_it_needs_one(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    anonymous: Api,
    db_snapshot: SnapshotChecker,
) -> None:
    before = db_snapshot.write_markers(populated_acme.tenant.id)

    for operation in all_operations:
        if operation.path.startswith("/telephony/"):
            continue  # carriers sign these requests
        response = send_operation(anonymous, operation, populated_acme)
        assert (response.status_code == 401) is operation.needs_key, operation.name
        if operation.method == "GET":
            head = anonymous.send("HEAD", operation.url(populated_acme.ids))
            assert head.status_code == response.status_code

    assert db_snapshot.write_markers(populated_acme.tenant.id) == before


def test_a_revoked_key_is_rejected_from_the_next_request(acme: Tenant, world: Factory) -> None:
    new = assert_created(acme.post("/api-keys", {"name": "short-lived"}))
    client = world.api(new["key"])
    assert client.get(acme.url("/calls")).status_code == 200

    revocation = acme.delete(f"/api-keys/{new['id']}")

    assert revocation.status_code == 204
    assert client.get(acme.url("/calls")).status_code == 401
    assert acme.delete(f"/api-keys/{new['id']}").status_code == 204  # repeated


def test_a_key_can_revoke_itself(acme: Tenant) -> None:
    key_id = acme.api.get("/api/me").json["id"]

    assert acme.delete(f"/api-keys/{key_id}").status_code == 204

    assert acme.get("/calls").status_code == 401


def test_a_key_is_rejected_from_the_moment_it_expires(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key = world.key(acme.id, expires_at=datetime.now(UTC) + timedelta(hours=1))
    client = world.api(key)
    assert client.get(acme.url("/calls")).status_code == 200

    db_snapshot.rows("UPDATE public.api_keys SET expires_at = now() WHERE prefix = %s", key[:12])

    assert client.get(acme.url("/calls")).status_code == 401


def test_a_key_of_an_old_pepper_is_accepted_and_rehashed_with_the_newest(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    old_pepper = app.config["PEPPERS"][0]
    key_hash_sql = "SELECT key_hash FROM public.api_keys WHERE prefix = %s"
    assert acme.get("/calls").status_code == 200  # stores the time of use; later requests do not
    before = db_snapshot.rows(key_hash_sql, acme.key[:12])

    app.config["PEPPERS"] = ("a new pepper in front of the old one", old_pepper)
    assert acme.get("/calls").status_code == 200
    assert db_snapshot.rows(key_hash_sql, acme.key[:12]) != before
    app.config["PEPPERS"] = ("a new pepper in front of the old one",)
    assert acme.get("/calls").status_code == 200
    app.config["PEPPERS"] = (old_pepper,)
    assert acme.get("/calls").status_code == 401


def test_the_first_use_of_a_key_is_stored_and_later_uses_every_ten_minutes(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key = world.key(acme.id)
    client = world.api(key)

    def use_key(last_use_ago: str | None) -> datetime:
        set_last_used = (
            "UPDATE public.api_keys SET last_used_at = now() - %s::interval WHERE prefix = %s"
        )
        db_snapshot.rows(set_last_used, last_use_ago, key[:12])
        assert client.get(acme.url("/calls")).status_code == 200
        last_used_at: datetime
        ((last_used_at,),) = db_snapshot.rows(
            "SELECT last_used_at FROM public.api_keys WHERE prefix = %s", key[:12]
        )
        return last_used_at

    first_use, after_nine_minutes, after_eleven_minutes = (
        use_key(last_use_ago) for last_use_ago in (None, "9 min", "11 min")
    )

    now = datetime.now(UTC)
    assert now - first_use < timedelta(minutes=1)
    assert timedelta(minutes=8) < now - after_nine_minutes < timedelta(minutes=10)
    assert now - after_eleven_minutes < timedelta(minutes=1)
