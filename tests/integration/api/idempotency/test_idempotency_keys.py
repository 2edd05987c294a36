"""Idempotency keys: valid values, their owners, and their deletion after a day."""

import pytest
from flask import Flask

from tests.integration.api.idempotency.conftest import (
    PROFILE,
    assert_error,
    assert_replayed,
    idempotency_rows,
    new_key_header,
    scheduled_cleanups,
)
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import Factory, Platform, Tenant, assert_created, fresh_number
from tests.support.services import app_services
from vca.jobs import queue
from vca.registry.idempotency.service import CLEANUP_JOB, RETENTION


@pytest.mark.parametrize(
    "value", ["", "a" * 256, "é", "a\tb", "\x7f", "\xa0", "☎".encode().decode("latin-1")]
)
def test_an_invalid_key_returns_400_and_the_error_names_the_header(
    acme: Tenant, value: str
) -> None:
    for path, body in (("/ai-profiles", PROFILE), ("/simulations", {"to": fresh_number()})):
        response = acme.post(path, body, headers={"Idempotency-Key": value})

        assert_error(response, "invalid-input", 400)
        [error] = response.json["errors"]
        assert (error["in"], error["pointer"]) == ("header", "/Idempotency-Key")
    assert acme.get("/ai-profiles").json == []


@pytest.mark.parametrize(
    "value", ["a", "a" * 255, '"quoted"', "a, b", "'; DROP TABLE calls; --", "%s%(key)s\\", "~!@#"]
)
def test_any_printable_ascii_text_is_a_valid_key(acme: Tenant, value: str) -> None:
    headers = {"Idempotency-Key": value}

    first, repeated = (acme.post("/ai-profiles", PROFILE, headers=dict(headers)) for _ in range(2))

    assert_replayed(first, repeated)


def test_an_unreadable_body_is_rejected_with_a_key_as_without(acme: Tenant) -> None:
    url, headers = (
        acme.url("/ai-profiles"),
        {**new_key_header(), "Content-Type": "application/json"},
    )

    chunked = {**headers, "Transfer-Encoding": "chunked"}
    compressed = {**headers, "Content-Encoding": "gzip"}

    assert acme.api.send("POST", url, data=b"{}", headers=chunked).status_code == 411
    assert acme.api.send("POST", url, data=b"{}", headers=compressed).status_code == 415
    large_body = b" " * (256 * 1024 + 1)
    assert acme.api.send("POST", url, data=large_body, headers=headers).status_code == 413


def test_an_idempotency_key_of_one_tenant_has_no_effect_for_another(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key = new_key_header()
    acme_profile = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))
    before = db_snapshot.checksum(acme.id)

    globex_response = globex.post("/ai-profiles", PROFILE, headers=dict(key))
    foreign_response = globex.api.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key))

    assert assert_created(globex_response)["id"] != acme_profile["id"]
    assert "Idempotency-Replayed" not in globex_response.headers
    assert foreign_response.status_code == 404
    assert db_snapshot.checksum(acme.id) == before


def test_an_idempotency_key_has_no_effect_for_another_api_key(acme: Tenant, world: Factory) -> None:
    key = new_key_header()
    first = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))

    second = world.api(world.key(acme.id)).post(
        acme.url("/ai-profiles"), PROFILE, headers=dict(key)
    )

    assert assert_created(second)["id"] != first["id"]


def test_the_row_of_a_platform_key_is_stored_in_the_tenant_of_the_path(
    acme: Tenant, globex: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    key = new_key_header()

    for tenant in (acme, globex):
        for path, body in (("/ai-profiles", PROFILE), ("/api-keys", {"name": "theirs"})):
            headers = {"Idempotency-Key": f"{key['Idempotency-Key']}{path}"}
            response = platform.api.post(tenant.url(path), body, headers=headers)
            assert response.status_code == 201, response.text

    headers = {"Idempotency-Key": f"{key['Idempotency-Key']}/ai-profiles"}
    for tenant in (acme, globex):
        [(sender, *_)] = idempotency_rows(db_snapshot, schema_of(tenant.id), headers)
        assert sender.startswith(platform.key[:12])
        assert len(tenant.get("/ai-profiles").json) == 1
    assert idempotency_rows(db_snapshot, "public", headers) == []


def test_one_job_of_each_tenant_deletes_keys_after_a_day(
    acme: Tenant, globex: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    old_key, new_key = new_key_header(), new_key_header()
    assert scheduled_cleanups(db_snapshot, acme) == 0
    first = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(old_key)))
    assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(new_key)))
    assert_created(globex.post("/ai-profiles", PROFILE, headers=dict(old_key)))
    assert scheduled_cleanups(db_snapshot, acme) == 1
    world.sql(
        acme,
        "UPDATE idempotency_keys SET created_at = now() - interval '24 h'"
        f" WHERE key = '{old_key['Idempotency-Key']}'",
    )

    assert world.run_jobs(acme, include_scheduled=True) == [CLEANUP_JOB]

    assert idempotency_rows(db_snapshot, acme.ref.schema, old_key) == []
    assert len(idempotency_rows(db_snapshot, acme.ref.schema, new_key)) == 1
    assert len(idempotency_rows(db_snapshot, globex.ref.schema, old_key)) == 1
    assert scheduled_cleanups(db_snapshot, acme) == 1  # for the remaining row
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '25 h'")
    assert world.run_jobs(acme, include_scheduled=True) == [CLEANUP_JOB]
    assert scheduled_cleanups(db_snapshot, acme) == 0
    repeated = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(old_key)))
    assert repeated["id"] != first["id"]


def test_the_cleanup_job_deletes_keys_of_the_platform(
    app: Flask, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    key = new_key_header()
    assert_created(platform.api.post("/api/tenants", {"name": "Swept"}, headers=dict(key)))
    assert scheduled_cleanups(db_snapshot, None) == 1
    db_snapshot.rows(
        "UPDATE public.idempotency_keys SET created_at = now() - %s WHERE key = %s",
        RETENTION,
        key["Idempotency-Key"],
    )

    queue.TASKS[CLEANUP_JOB](services=app_services())

    assert idempotency_rows(db_snapshot, "public", key) == []
    assert scheduled_cleanups(db_snapshot, None) == 1
