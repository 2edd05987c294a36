"""Who may do what: keys, scopes, platform and tenant keys, suspended and deleted tenants.

Every matrix is computed from the OpenAPI document, and holds for operations that come later.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.support.api import Api, ApiResponse
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant, assert_created
from tests.support.operations import Operation, build_body
from tests.support.populated_tenant import PopulatedTenant, body_values
from vca.kit import json
from vca.registry.api_keys import service as api_keys
from vca.registry.api_keys.models import SCOPES
from vca.tenancy.session import public_session

T = "/api/tenants/{tenant_id}"
_NEEDS = re.compile(r"Needs a (platform )?key with scope `(\w+)`")
# What a suspended tenant's own key may change all the same, and what only looks like a change.
SPARED = {
    f"DELETE {T}/api-keys/{{key_id}}",
    f"POST {T}/privacy/export",
    f"POST {T}/privacy/erase",
    f"POST {T}/routing/explain",
}
# Where it is told that content was read, which is no change.
READINGS = "audit_entries"
# What a platform key may do to a deleted tenant.
REACHES_DELETED = {f"GET {T}", f"PATCH {T}"}


def _needs(operation: Operation) -> tuple[bool, str | None]:
    """(only a platform key, scope) as the document says."""
    found = _NEEDS.search(operation.specification.get("description", ""))
    return (bool(found[1]), found[2]) if found else (False, None)


def _keyed(catalogue: list[Operation]) -> list[Operation]:
    return [operation for operation in catalogue if operation.needs_key]


def _ask(
    api: Api,
    operation: Operation,
    premises: PopulatedTenant,
    ids: dict[str, str] | None = None,
    *,
    key: str | None = None,
) -> ApiResponse:
    """The operation with a good body."""
    good = (
        build_body(operation, body_values(premises), as_platform=False)
        if operation.fields
        else None
    )
    data = json.dumps(good) if good is not None else None
    headers = {"Content-Type": "application/json"} if data else {}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    url = operation.url({**premises.ids, **(ids or {})})
    return api.send(operation.method, url, data=data, headers=headers)


def _gone(premises: PopulatedTenant) -> dict[str, str]:
    """Ids of nothing at all, under the tenant: what is let through finds nothing to change."""
    return {name: str(uuid4()) for name in premises.ids if name != "tenant_id"}


def _outcome(answer: ApiResponse) -> tuple[int, str | None]:
    return answer.status_code, answer.json["code"] if answer.status_code >= 400 else None


# --- Keys -------------------------------------------------------------------------------------


def _unknown(world: Factory, tenant_id: str | None) -> str:
    """A key with a good checksum that was never kept."""
    with public_session() as session:
        _, key = api_keys.create(session, name="x", tenant_id=None, pepper="any")
        session.rollback()
    return key


def _expired(world: Factory, tenant_id: str | None) -> str:
    return world.key(tenant_id, expires_at=datetime.now(UTC) - timedelta(seconds=1))


def _revoked(world: Factory, tenant_id: str | None) -> str:
    key = world.key(tenant_id)
    me = world.api(key).get("/api/me").json
    with public_session() as session:
        api_keys.revoke(
            session,
            tenant_id=UUID(tenant_id) if tenant_id else None,
            key_id=UUID(me["id"]),
            now=datetime.now(UTC),
        )
    return key


def _other_pepper(world: Factory, tenant_id: str | None) -> str:
    with public_session() as session:
        _, key = api_keys.create(
            session,
            name="x",
            tenant_id=UUID(tenant_id) if tenant_id else None,
            pepper="a pepper that this deployment does not know",
        )
    return key


def _other_secret(world: Factory, tenant_id: str | None) -> str:
    """A known key's beginning and another key's rest, with the checksum to match."""
    known, other = world.key(tenant_id), world.key(tenant_id)
    text = known[:13] + other[13:46]
    return f"{text}{api_keys._checksum(text[:-1])}"


BAD_KEYS: dict[str, Callable[[Factory, str | None], str | None]] = {
    "none": lambda world, tenant_id: None,
    "empty": lambda world, tenant_id: "",
    "malformed": lambda world, tenant_id: "vca_not-a-key",
    "cut": lambda world, tenant_id: world.key(tenant_id)[:-1],
    "wrong checksum": lambda world, tenant_id: _flipped(world.key(tenant_id)),
    "unknown": _unknown,
    "other secret": _other_secret,
    "expired": _expired,
    "revoked": _revoked,
    "other pepper": _other_pepper,
}


def _flipped(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def test_every_bad_key_gets_the_same_answer(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    told = []
    for kind, bad in BAD_KEYS.items():
        for owner, path in (
            (acme.id, acme.url("/calls")),
            (None, "/api/tenants"),
            (None, "/api/me"),
        ):
            answer = world.api(bad(world, owner)).get(path)

            assert answer.status_code == 401, kind
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            told.append({**answer.json, "request_id": None})
    deleted = world.tenant("Deleted")
    platform.api.patch(deleted.url(), {"status": "deleted"})
    for path in (deleted.url("/calls"), "/api/me"):
        told.append({**deleted.api.get(path).json, "request_id": None})

    assert all(each == told[0] for each in told)
    assert told[0]["code"] == "unauthorized"


def test_the_key_that_is_spoilt_for_the_test_is_well_formed(world: Factory, acme: Tenant) -> None:
    assert api_keys._is_well_formed(_other_secret(world, acme.id))
    assert api_keys._is_well_formed(_unknown(world, None))
    assert not api_keys._is_well_formed(_flipped(world.key(None)))


def test_every_keyed_operation_refuses_a_stranger_and_every_open_one_does_not(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    anonymous: Api,
    db_snapshot: SnapshotChecker,
) -> None:
    before = db_snapshot.write_markers(populated_acme.tenant.id)

    for operation in all_operations:
        if operation.path.startswith("/telephony/"):
            continue  # signed by carriers
        answer = _ask(anonymous, operation, populated_acme)
        assert (answer.status_code == 401) is operation.needs_key, operation.name
        if operation.method == "GET":
            head = anonymous.send("HEAD", operation.url(populated_acme.ids))
            assert head.status_code == answer.status_code

    assert db_snapshot.write_markers(populated_acme.tenant.id) == before


def test_a_revoked_key_is_useless_with_the_very_next_request(acme: Tenant, world: Factory) -> None:
    new = assert_created(acme.post("/api-keys", {"name": "short-lived"}))
    holder = world.api(new["key"])
    assert holder.get(acme.url("/calls")).status_code == 200

    revoked = acme.delete(f"/api-keys/{new['id']}")

    assert revoked.status_code == 204
    assert holder.get(acme.url("/calls")).status_code == 401
    assert acme.delete(f"/api-keys/{new['id']}").status_code == 204  # again is no change


def test_a_key_can_revoke_itself(acme: Tenant) -> None:
    own = acme.api.get("/api/me").json["id"]

    assert acme.delete(f"/api-keys/{own}").status_code == 204

    assert acme.get("/calls").status_code == 401


def test_a_key_stops_at_the_moment_that_it_expires(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key = world.key(acme.id, expires_at=datetime.now(UTC) + timedelta(hours=1))
    holder = world.api(key)
    assert holder.get(acme.url("/calls")).status_code == 200

    db_snapshot.rows("UPDATE public.api_keys SET expires_at = now() WHERE prefix = %s", key[:12])

    assert holder.get(acme.url("/calls")).status_code == 401


def test_an_old_pepper_still_reads_and_the_key_moves_to_the_newest(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    old = app.config["PEPPERS"][0]
    kept = "SELECT key_hash FROM public.api_keys WHERE prefix = %s"
    assert acme.get("/calls").status_code == 200  # its use was just noted
    before = db_snapshot.rows(kept, acme.key[:12])

    app.config["PEPPERS"] = ("a new pepper in front of the old one", old)
    assert acme.get("/calls").status_code == 200
    assert db_snapshot.rows(kept, acme.key[:12]) != before
    app.config["PEPPERS"] = ("a new pepper in front of the old one",)
    assert acme.get("/calls").status_code == 200
    app.config["PEPPERS"] = (old,)
    assert acme.get("/calls").status_code == 401


def test_a_keys_use_is_noted_at_once_and_then_once_in_ten_minutes(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key = world.key(acme.id)
    holder = world.api(key)

    def noted_after_a_use(ago: str | None) -> datetime:
        used = "UPDATE public.api_keys SET last_used_at = now() - %s::interval WHERE prefix = %s"
        db_snapshot.rows(used, ago, key[:12])
        assert holder.get(acme.url("/calls")).status_code == 200
        ((noted,),) = db_snapshot.rows(
            "SELECT last_used_at FROM public.api_keys WHERE prefix = %s", key[:12]
        )
        return noted

    first, again, later = (noted_after_a_use(ago) for ago in (None, "9 min", "11 min"))

    now = datetime.now(UTC)
    assert now - first < timedelta(minutes=1)
    assert timedelta(minutes=8) < now - again < timedelta(minutes=10)
    assert now - later < timedelta(minutes=1)


# --- Scopes -----------------------------------------------------------------------------------


def test_a_key_without_an_operations_scope_is_refused_and_nothing_happens(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
) -> None:
    keys = _keys_without_one_scope(world, populated_acme.tenant.id)
    before = db_snapshot.checksum(populated_acme.tenant.id, except_table=READINGS)
    cells = 0

    for operation in _keyed(all_operations):
        only_platform, scope = _needs(operation)
        if scope is None:
            continue
        for owner in ("platform",) if only_platform else ("platform", "tenant"):
            answer = _ask(world.api(None), operation, populated_acme, key=keys[owner, scope])
            assert _outcome(answer) == (403, "scope-missing"), operation.name
            cells += 1
            for other in set(SCOPES) - {scope}:
                if f" and `{other}`" in operation.specification["description"]:
                    answer = _ask(
                        world.api(None), operation, populated_acme, key=keys[owner, other]
                    )
                    assert _outcome(answer) == (403, "scope-missing"), operation.name
                    continue
                ids = _gone(populated_acme)
                if operation.method != "GET" and not set(operation.path_names) & ids.keys():
                    continue  # would be done
                answer = _ask(
                    world.api(None), operation, populated_acme, ids, key=keys[owner, other]
                )
                assert answer.status_code in (200, 404), f"{operation.name} without {other}"
                cells += 1

    assert cells > 150
    assert db_snapshot.checksum(populated_acme.tenant.id, except_table=READINGS) == before


def _keys_without_one_scope(world: Factory, tenant_id: str) -> dict[tuple[str, str], str]:
    return {
        (owner, missing): world.key(of, scopes=[scope for scope in SCOPES if scope != missing])
        for owner, of in (("platform", None), ("tenant", tenant_id))
        for missing in SCOPES
    }


_CONTENT = re.compile(r"/(turns|recording|messages|messages/\{\w+\})$")
# Who holds which keys, who did what with them, and what is kept of people.
_WHO = re.compile(r"/(api-keys(/\{\w+\})?|telephony-accounts(/\{\w+\})?|audit|privacy/.*)$")
# Where a tenant's events go, who decides about its calls, and the secrets that sign for us.
_SECRETS = re.compile(
    r"^(POST|PATCH|DELETE) .*(/webhooks(/\{\w+\}(/rotate-secret)?)?|/decision-webhook)$"
)


def test_scopes_mean_what_the_vocabulary_says(all_operations: list[Operation]) -> None:
    for operation in _keyed(all_operations):
        _, scope = _needs(operation)
        if operation.path == "/api/me":
            wanted = None
        elif _WHO.search(operation.path) or _SECRETS.search(operation.name):
            wanted = "admin"
        elif operation.method == "GET" and _CONTENT.search(operation.path):
            wanted = "content"
        elif operation.method == "GET" or operation.path.endswith("/explain"):
            wanted = "read"
        else:
            wanted = "write"
        assert scope == wanted, operation.name


def test_a_read_key_never_sees_what_was_said(
    world: Factory, populated_acme: PopulatedTenant
) -> None:
    reader = world.api(world.key(populated_acme.tenant.id, scopes=["read"]))
    call = populated_acme.tenant.url(f"/calls/{populated_acme.ids['call_id']}")

    shown = [
        reader.get(call),
        reader.get(f"{call}/events"),
        reader.get(populated_acme.tenant.url("/calls")),
    ]
    turns = reader.get(f"{call}/turns")

    assert all("are you there?" not in answer.text for answer in shown)
    assert _outcome(turns) == (403, "scope-missing")
    assert (
        "are you there?"
        in populated_acme.tenant.get(f"/calls/{populated_acme.ids['call_id']}/turns").text
    )


# --- Platform and tenant keys -----------------------------------------------------------------


def test_what_only_operators_may_do_is_refused_to_tenants(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    db_snapshot: SnapshotChecker,
) -> None:
    before = (
        db_snapshot.checksum(populated_acme.tenant.id),
        db_snapshot.checksum(populated_globex.tenant.id),
    )
    platform_only = [operation for operation in _keyed(all_operations) if _needs(operation)[0]]

    for operation in platform_only:
        answer = _ask(populated_acme.tenant.api, operation, populated_acme)

        assert _outcome(answer) == (403, "platform-key-needed"), operation.name
        assert not populated_globex.leaked_secrets(answer.text)

    assert len(platform_only) >= 8
    assert {operation.name for operation in platform_only} == {
        operation.name
        for operation in _keyed(all_operations)
        if not operation.path.startswith(f"{T}/")
        and operation.name not in (f"GET {T}", "GET /api/me")
    }
    assert (
        db_snapshot.checksum(populated_acme.tenant.id),
        db_snapshot.checksum(populated_globex.tenant.id),
    ) == before


def _is_done(operation: Operation, answer: ApiResponse) -> bool:
    """Done, or there is nothing to do it to: nobody's profile names the example's target."""
    nowhere = operation.path.endswith("/transfer") and answer.status_code == 409
    return nowhere or answer.status_code in (200, 201, 202, 404)


def test_a_platform_key_may_do_everything_to_a_tenant_of_the_path(
    all_operations: list[Operation], populated_acme: PopulatedTenant, platform: Platform
) -> None:
    for operation in _keyed(all_operations):
        if operation.path.startswith(T):
            answer = _ask(platform.api, operation, populated_acme, _gone(populated_acme))

            assert _is_done(operation, answer), f"{operation.name}: {answer.text}"


def test_everybody_can_ask_who_they_are(
    populated_acme: PopulatedTenant, platform: Platform, world: Factory
) -> None:
    narrow = world.key(populated_acme.tenant.id, scopes=["read"])

    assert populated_acme.tenant.api.get("/api/me").json["tenant_id"] == populated_acme.tenant.id
    assert platform.api.get("/api/me").json["tenant_id"] is None
    assert world.api(narrow).get("/api/me").json["scopes"] == ["read"]


# --- Suspended and deleted tenants ------------------------------------------------------------


def test_a_suspended_tenants_keys_read_and_do_not_write(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> None:
    platform.api.patch(populated_acme.tenant.url(), {"status": "suspended"})
    before = db_snapshot.checksum(populated_acme.tenant.id, except_table=READINGS)
    refused = 0

    for operation in _keyed(all_operations):
        if not operation.path.startswith(f"{T}/") and operation.name != f"GET {T}":
            continue
        if operation.method == "GET":
            assert _ask(populated_acme.tenant.api, operation, populated_acme).status_code == 200, (
                operation.name
            )
        elif operation.name not in SPARED:
            answer = _ask(populated_acme.tenant.api, operation, populated_acme)
            assert _outcome(answer) == (403, "tenant-suspended"), operation.name
            refused += 1

    assert refused >= 12
    assert db_snapshot.checksum(populated_acme.tenant.id, except_table=READINGS) == before
    assert populated_acme.tenant.api.get("/api/me").status_code == 200


def test_a_suspended_tenant_can_still_revoke_its_keys_and_ask_for_a_route(
    populated_acme: PopulatedTenant, platform: Platform, world: Factory
) -> None:
    stolen = assert_created(populated_acme.tenant.post("/api-keys", {"name": "stolen"}))
    platform.api.patch(populated_acme.tenant.url(), {"status": "suspended"})

    revoked = populated_acme.tenant.delete(f"/api-keys/{stolen['id']}")
    explained = populated_acme.tenant.post("/routing/explain", {"to": populated_acme.did_number})

    assert revoked.status_code == 204
    assert world.api(stolen["key"]).get("/api/me").status_code == 401
    assert explained.json["end_reason"] == "tenant_suspended"


def test_a_platform_key_still_writes_to_a_suspended_tenant(
    all_operations: list[Operation], populated_acme: PopulatedTenant, platform: Platform
) -> None:
    platform.api.patch(populated_acme.tenant.url(), {"status": "suspended"})
    done = 0

    for operation in _keyed(all_operations):
        if operation.path.startswith(f"{T}/") and operation.method != "GET":
            answer = _ask(platform.api, operation, populated_acme, _gone(populated_acme))

            if not operation.path.endswith("/simulations"):  # no agent answers: 409 with the reason
                assert answer.status_code in (200, 201, 202, 404), (
                    f"{operation.name}: {answer.text}"
                )
            done += 1

    assert done >= 12


def test_under_a_deleted_tenant_there_is_nothing_but_the_tenant_itself(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> None:
    platform.api.patch(populated_acme.tenant.url(), {"status": "deleted"})
    before = db_snapshot.checksum(populated_acme.tenant.id)
    unknown = platform.api.get(f"/api/tenants/{uuid4()}/calls").json

    for operation in _keyed(all_operations):
        if not operation.path.startswith(T) or operation.name in REACHES_DELETED:
            continue
        answer = _ask(platform.api, operation, populated_acme)
        assert answer.status_code == 404, operation.name
        assert {**answer.json, "request_id": None} == {**unknown, "request_id": None}
        assert _ask(populated_acme.tenant.api, operation, populated_acme).status_code == 401, (
            operation.name
        )

    assert db_snapshot.checksum(populated_acme.tenant.id) == before
    assert platform.api.get(populated_acme.tenant.url()).json["status"] == "deleted"
    assert populated_acme.tenant.get("").status_code == 401
    assert platform.api.patch(populated_acme.tenant.url(), {"status": "active"}).status_code == 200
    assert populated_acme.tenant.get("/calls").status_code == 200


# --- What a key can grant ---------------------------------------------------------------------


def _key_urls(acme: Tenant) -> list[tuple[str, str | None]]:
    """Where keys are made, and whose key may make them there."""
    return [
        (acme.url("/api-keys"), acme.id),
        (acme.url("/api-keys"), None),
        ("/api/api-keys", None),
    ]


def test_a_key_grants_no_scope_that_it_does_not_have(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    for url, owner in _key_urls(acme):
        granting = world.api(world.key(owner, scopes=["admin", "read"]))
        count = db_snapshot.rows("SELECT count(*) FROM public.api_keys")
        for wanted in (["write"], ["content"], ["read", "write"], list(SCOPES)):
            answer = granting.post(url, {"name": "more", "scopes": wanted})
            assert _outcome(answer) == (403, "scope-exceeded")
        assert db_snapshot.rows("SELECT count(*) FROM public.api_keys") == count

        assert assert_created(granting.post(url, {"name": "same"}))["scopes"] == ["read", "admin"]
        assert assert_created(granting.post(url, {"name": "less", "scopes": ["read"]}))[
            "scopes"
        ] == ["read"]


def test_a_key_grants_no_longer_life_than_it_has(acme: Tenant, world: Factory) -> None:
    end = datetime(2030, 1, 1, tzinfo=UTC)

    def expiry(granting: Api, url: str, **asked: Any) -> tuple[int, str | None]:
        answer = granting.post(url, {"name": "child", **asked})
        return answer.status_code, answer.json.get("expires_at")

    for url, owner in _key_urls(acme):
        granting = world.api(world.key(owner, expires_at=end))

        assert expiry(granting, url) == (201, "2030-01-01T00:00:00Z")
        assert expiry(granting, url, expires_at=None) == (201, "2030-01-01T00:00:00Z")
        sooner = "2029-12-31T23:59:59Z"
        assert expiry(granting, url, expires_at=sooner) == (201, sooner)
        for later in ("2030-01-01T00:00:01Z", "2030-01-01T00:00:00-01:00", "8999-01-01T00:00:00Z"):
            assert expiry(granting, url, expires_at=later) == (403, None)


def test_a_tenants_key_makes_keys_of_its_own_tenant_only(
    acme: Tenant, globex: Tenant, world: Factory
) -> None:
    new = assert_created(acme.post("/api-keys", {"name": "mine"}))

    assert new["tenant_id"] == acme.id
    assert _outcome(acme.api.post("/api/api-keys", {"name": "x"})) == (403, "platform-key-needed")
    assert _outcome(acme.api.post(globex.url("/api-keys"), {"name": "x"})) == (404, "not-found")
    assert world.api(new["key"]).get(globex.url("/calls")).status_code == 404


@pytest.mark.parametrize("path", ["/api/api-keys", "{tenant}/api-keys"])
def test_a_keys_text_is_shown_once_and_kept_nowhere(
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
