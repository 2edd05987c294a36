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
from werkzeug.test import TestResponse

from tests.support.api import Api
from tests.support.evidence import Evidence
from tests.support.operations import Operation, body
from tests.support.premises import Premises, values
from tests.support.world import Platform, Tenant, World, made
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
    found = _NEEDS.search(operation.described.get("description", ""))
    return (bool(found[1]), found[2]) if found else (False, None)


def _keyed(catalogue: list[Operation]) -> list[Operation]:
    return [operation for operation in catalogue if operation.keyed]


def _ask(
    api: Api,
    operation: Operation,
    premises: Premises,
    ids: dict[str, str] | None = None,
    *,
    key: str | None = None,
) -> TestResponse:
    """The operation with a good body."""
    good = body(operation, values(premises), as_platform=False) if operation.fields else None
    data = json.dumps(good) if good is not None else None
    headers = {"Content-Type": "application/json"} if data else {}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    url = operation.url({**premises.ids, **(ids or {})})
    return api.send(operation.method, url, data=data, headers=headers)


def _gone(premises: Premises) -> dict[str, str]:
    """Ids of nothing at all, under the tenant: what is let through finds nothing to change."""
    return {name: str(uuid4()) for name in premises.ids if name != "tenant_id"}


def _outcome(answer: TestResponse) -> tuple[int, str | None]:
    return answer.status_code, answer.json["code"] if answer.status_code >= 400 else None


# --- Keys -------------------------------------------------------------------------------------


def _unknown(world: World, tenant_id: str | None) -> str:
    """A key with a good checksum that was never kept."""
    with public_session() as session:
        _, key = api_keys.create(session, name="x", tenant_id=None, pepper="any")
        session.rollback()
    return key


def _expired(world: World, tenant_id: str | None) -> str:
    return world.key(tenant_id, expires_at=datetime.now(UTC) - timedelta(seconds=1))


def _revoked(world: World, tenant_id: str | None) -> str:
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


def _other_pepper(world: World, tenant_id: str | None) -> str:
    with public_session() as session:
        _, key = api_keys.create(
            session,
            name="x",
            tenant_id=UUID(tenant_id) if tenant_id else None,
            pepper="a pepper that this deployment does not know",
        )
    return key


def _other_secret(world: World, tenant_id: str | None) -> str:
    """A known key's beginning and another key's rest, with the checksum to match."""
    known, other = world.key(tenant_id), world.key(tenant_id)
    text = known[:13] + other[13:46]
    return f"{text}{api_keys._checksum(text[:-1])}"


BAD_KEYS: dict[str, Callable[[World, str | None], str | None]] = {
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


def test_every_bad_key_gets_the_same_answer(world: World, acme: Tenant, platform: Platform) -> None:
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


def test_the_key_that_is_spoilt_for_the_test_is_well_formed(world: World, acme: Tenant) -> None:
    assert api_keys._is_well_formed(_other_secret(world, acme.id))
    assert api_keys._is_well_formed(_unknown(world, None))
    assert not api_keys._is_well_formed(_flipped(world.key(None)))


def test_every_keyed_operation_refuses_a_stranger_and_every_open_one_does_not(
    catalogue: list[Operation], here: Premises, anonymous: Api, evidence: Evidence
) -> None:
    before = evidence.marks(here.tenant.id)

    for operation in catalogue:
        if operation.path.startswith("/telephony/"):
            continue  # signed by carriers
        answer = _ask(anonymous, operation, here)
        assert (answer.status_code == 401) is operation.keyed, operation.name
        if operation.method == "GET":
            head = anonymous.send("HEAD", operation.url(here.ids))
            assert head.status_code == answer.status_code

    assert evidence.marks(here.tenant.id) == before


def test_a_revoked_key_is_useless_with_the_very_next_request(acme: Tenant, world: World) -> None:
    new = made(acme.post("/api-keys", {"name": "short-lived"}))
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
    acme: Tenant, world: World, evidence: Evidence
) -> None:
    key = world.key(acme.id, expires_at=datetime.now(UTC) + timedelta(hours=1))
    holder = world.api(key)
    assert holder.get(acme.url("/calls")).status_code == 200

    evidence.rows("UPDATE public.api_keys SET expires_at = now() WHERE prefix = %s", key[:12])

    assert holder.get(acme.url("/calls")).status_code == 401


def test_an_old_pepper_still_reads_and_the_key_moves_to_the_newest(
    app: Flask, acme: Tenant, evidence: Evidence
) -> None:
    old = app.config["PEPPERS"][0]
    kept = "SELECT key_hash FROM public.api_keys WHERE prefix = %s"
    assert acme.get("/calls").status_code == 200  # its use was just noted
    before = evidence.rows(kept, acme.key[:12])

    app.config["PEPPERS"] = ("a new pepper in front of the old one", old)
    assert acme.get("/calls").status_code == 200
    assert evidence.rows(kept, acme.key[:12]) != before
    app.config["PEPPERS"] = ("a new pepper in front of the old one",)
    assert acme.get("/calls").status_code == 200
    app.config["PEPPERS"] = (old,)
    assert acme.get("/calls").status_code == 401


def test_a_keys_use_is_noted_at_once_and_then_once_in_ten_minutes(
    acme: Tenant, world: World, evidence: Evidence
) -> None:
    key = world.key(acme.id)
    holder = world.api(key)

    def noted_after_a_use(ago: str | None) -> datetime:
        used = "UPDATE public.api_keys SET last_used_at = now() - %s::interval WHERE prefix = %s"
        evidence.rows(used, ago, key[:12])
        assert holder.get(acme.url("/calls")).status_code == 200
        ((noted,),) = evidence.rows(
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
    catalogue: list[Operation],
    here: Premises,
    world: World,
    evidence: Evidence,
) -> None:
    keys = _keys_without_one_scope(world, here.tenant.id)
    before = evidence.checksum(here.tenant.id, but=READINGS)
    cells = 0

    for operation in _keyed(catalogue):
        only_platform, scope = _needs(operation)
        if scope is None:
            continue
        for owner in ("platform",) if only_platform else ("platform", "tenant"):
            answer = _ask(world.api(None), operation, here, key=keys[owner, scope])
            assert _outcome(answer) == (403, "scope-missing"), operation.name
            cells += 1
            for other in set(SCOPES) - {scope}:
                if f" and `{other}`" in operation.described["description"]:
                    answer = _ask(world.api(None), operation, here, key=keys[owner, other])
                    assert _outcome(answer) == (403, "scope-missing"), operation.name
                    continue
                ids = _gone(here)
                if operation.method != "GET" and not set(operation.path_names) & ids.keys():
                    continue  # would be done
                answer = _ask(world.api(None), operation, here, ids, key=keys[owner, other])
                assert answer.status_code in (200, 404), f"{operation.name} without {other}"
                cells += 1

    assert cells > 150
    assert evidence.checksum(here.tenant.id, but=READINGS) == before


def _keys_without_one_scope(world: World, tenant_id: str) -> dict[tuple[str, str], str]:
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


def test_scopes_mean_what_the_vocabulary_says(catalogue: list[Operation]) -> None:
    for operation in _keyed(catalogue):
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


def test_a_read_key_never_sees_what_was_said(world: World, here: Premises) -> None:
    reader = world.api(world.key(here.tenant.id, scopes=["read"]))
    call = here.tenant.url(f"/calls/{here.ids['call_id']}")

    shown = [reader.get(call), reader.get(f"{call}/events"), reader.get(here.tenant.url("/calls"))]
    turns = reader.get(f"{call}/turns")

    assert all("are you there?" not in answer.text for answer in shown)
    assert _outcome(turns) == (403, "scope-missing")
    assert "are you there?" in here.tenant.get(f"/calls/{here.ids['call_id']}/turns").text


# --- Platform and tenant keys -----------------------------------------------------------------


def test_what_only_operators_may_do_is_refused_to_tenants(
    catalogue: list[Operation], here: Premises, there: Premises, evidence: Evidence
) -> None:
    before = evidence.checksum(here.tenant.id), evidence.checksum(there.tenant.id)
    platform_only = [operation for operation in _keyed(catalogue) if _needs(operation)[0]]

    for operation in platform_only:
        answer = _ask(here.tenant.api, operation, here)

        assert _outcome(answer) == (403, "platform-key-needed"), operation.name
        assert not there.leaked(answer.text)

    assert len(platform_only) >= 8
    assert {operation.name for operation in platform_only} == {
        operation.name
        for operation in _keyed(catalogue)
        if not operation.path.startswith(f"{T}/")
        and operation.name not in (f"GET {T}", "GET /api/me")
    }
    assert (evidence.checksum(here.tenant.id), evidence.checksum(there.tenant.id)) == before


def _is_done(operation: Operation, answer: TestResponse) -> bool:
    """Done, or there is nothing to do it to: nobody's profile names the example's target."""
    nowhere = operation.path.endswith("/transfer") and answer.status_code == 409
    return nowhere or answer.status_code in (200, 201, 202, 404)


def test_a_platform_key_may_do_everything_to_a_tenant_of_the_path(
    catalogue: list[Operation], here: Premises, platform: Platform
) -> None:
    for operation in _keyed(catalogue):
        if operation.path.startswith(T):
            answer = _ask(platform.api, operation, here, _gone(here))

            assert _is_done(operation, answer), f"{operation.name}: {answer.text}"


def test_everybody_can_ask_who_they_are(here: Premises, platform: Platform, world: World) -> None:
    narrow = world.key(here.tenant.id, scopes=["read"])

    assert here.tenant.api.get("/api/me").json["tenant_id"] == here.tenant.id
    assert platform.api.get("/api/me").json["tenant_id"] is None
    assert world.api(narrow).get("/api/me").json["scopes"] == ["read"]


# --- Suspended and deleted tenants ------------------------------------------------------------


def test_a_suspended_tenants_keys_read_and_do_not_write(
    catalogue: list[Operation], here: Premises, platform: Platform, evidence: Evidence
) -> None:
    platform.api.patch(here.tenant.url(), {"status": "suspended"})
    before = evidence.checksum(here.tenant.id, but=READINGS)
    refused = 0

    for operation in _keyed(catalogue):
        if not operation.path.startswith(f"{T}/") and operation.name != f"GET {T}":
            continue
        if operation.method == "GET":
            assert _ask(here.tenant.api, operation, here).status_code == 200, operation.name
        elif operation.name not in SPARED:
            answer = _ask(here.tenant.api, operation, here)
            assert _outcome(answer) == (403, "tenant-suspended"), operation.name
            refused += 1

    assert refused >= 12
    assert evidence.checksum(here.tenant.id, but=READINGS) == before
    assert here.tenant.api.get("/api/me").status_code == 200


def test_a_suspended_tenant_can_still_revoke_its_keys_and_ask_for_a_route(
    here: Premises, platform: Platform, world: World
) -> None:
    stolen = made(here.tenant.post("/api-keys", {"name": "stolen"}))
    platform.api.patch(here.tenant.url(), {"status": "suspended"})

    revoked = here.tenant.delete(f"/api-keys/{stolen['id']}")
    explained = here.tenant.post("/routing/explain", {"to": here.did_number})

    assert revoked.status_code == 204
    assert world.api(stolen["key"]).get("/api/me").status_code == 401
    assert explained.json["end_reason"] == "tenant_suspended"


def test_a_platform_key_still_writes_to_a_suspended_tenant(
    catalogue: list[Operation], here: Premises, platform: Platform
) -> None:
    platform.api.patch(here.tenant.url(), {"status": "suspended"})
    done = 0

    for operation in _keyed(catalogue):
        if operation.path.startswith(f"{T}/") and operation.method != "GET":
            answer = _ask(platform.api, operation, here, _gone(here))

            if not operation.path.endswith("/simulations"):  # no agent answers: 409 with the reason
                assert answer.status_code in (200, 201, 202, 404), (
                    f"{operation.name}: {answer.text}"
                )
            done += 1

    assert done >= 12


def test_under_a_deleted_tenant_there_is_nothing_but_the_tenant_itself(
    catalogue: list[Operation], here: Premises, platform: Platform, evidence: Evidence
) -> None:
    platform.api.patch(here.tenant.url(), {"status": "deleted"})
    before = evidence.checksum(here.tenant.id)
    unknown = platform.api.get(f"/api/tenants/{uuid4()}/calls").json

    for operation in _keyed(catalogue):
        if not operation.path.startswith(T) or operation.name in REACHES_DELETED:
            continue
        answer = _ask(platform.api, operation, here)
        assert answer.status_code == 404, operation.name
        assert {**answer.json, "request_id": None} == {**unknown, "request_id": None}
        assert _ask(here.tenant.api, operation, here).status_code == 401, operation.name

    assert evidence.checksum(here.tenant.id) == before
    assert platform.api.get(here.tenant.url()).json["status"] == "deleted"
    assert here.tenant.get("").status_code == 401
    assert platform.api.patch(here.tenant.url(), {"status": "active"}).status_code == 200
    assert here.tenant.get("/calls").status_code == 200


# --- What a key can grant ---------------------------------------------------------------------


def _key_urls(acme: Tenant) -> list[tuple[str, str | None]]:
    """Where keys are made, and whose key may make them there."""
    return [
        (acme.url("/api-keys"), acme.id),
        (acme.url("/api-keys"), None),
        ("/api/api-keys", None),
    ]


def test_a_key_grants_no_scope_that_it_does_not_have(
    acme: Tenant, world: World, evidence: Evidence
) -> None:
    for url, owner in _key_urls(acme):
        granting = world.api(world.key(owner, scopes=["admin", "read"]))
        count = evidence.rows("SELECT count(*) FROM public.api_keys")
        for wanted in (["write"], ["content"], ["read", "write"], list(SCOPES)):
            answer = granting.post(url, {"name": "more", "scopes": wanted})
            assert _outcome(answer) == (403, "scope-exceeded")
        assert evidence.rows("SELECT count(*) FROM public.api_keys") == count

        assert made(granting.post(url, {"name": "same"}))["scopes"] == ["read", "admin"]
        assert made(granting.post(url, {"name": "less", "scopes": ["read"]}))["scopes"] == ["read"]


def test_a_key_grants_no_longer_life_than_it_has(acme: Tenant, world: World) -> None:
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
    acme: Tenant, globex: Tenant, world: World
) -> None:
    new = made(acme.post("/api-keys", {"name": "mine"}))

    assert new["tenant_id"] == acme.id
    assert _outcome(acme.api.post("/api/api-keys", {"name": "x"})) == (403, "platform-key-needed")
    assert _outcome(acme.api.post(globex.url("/api-keys"), {"name": "x"})) == (404, "not-found")
    assert world.api(new["key"]).get(globex.url("/calls")).status_code == 404


@pytest.mark.parametrize("path", ["/api/api-keys", "{tenant}/api-keys"])
def test_a_keys_text_is_shown_once_and_kept_nowhere(
    path: str, acme: Tenant, platform: Platform, evidence: Evidence
) -> None:
    url = path.replace("{tenant}", acme.url())

    new = made(platform.api.post(url, {"name": "once"}))

    assert new["key"].startswith(new["prefix"])
    secret = new["key"][13:45]
    assert secret not in platform.api.get(url, limit=100).text
    rows = evidence.rows("SELECT to_jsonb(k)::text FROM public.api_keys k WHERE id = %s", new["id"])
    assert secret not in rows[0][0]
