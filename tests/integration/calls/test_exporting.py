"""A caller's data as one file: all of theirs, nothing of others', for a day."""

import io
import zipfile
from typing import Any

import pytest

from tests.integration.calls.conftest import RealCallerCarrier
from tests.support import erasure_fixture
from tests.support.carrier_client import CarrierClient
from tests.support.erasure_fixture import ErasureSubject
from tests.support.factories import Factory, Tenant
from tests.support.recordings import stored_files
from vca.kit import json, storage
from vca.kit.storage import StorageError


@pytest.fixture
def erasure_subject() -> ErasureSubject:
    """Somebody who calls."""
    return erasure_fixture.create_subject()


@pytest.fixture
def tenant_with_subject_data(
    world: Factory,
    acme: Tenant,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    erasure_subject: ErasureSubject,
) -> Tenant:
    """Acme, which knows the canary, and somebody else who mentions it."""
    erasure_fixture.create_subject_data(
        world,
        acme,
        carrier_client,
        real_carrier,
        erasure_subject,
        erasure_fixture.create_numbers(acme),
    )
    return acme


def _ordered(tenant: Tenant, who: ErasureSubject) -> str:
    """Where an export will be."""
    asked = tenant.post("/privacy/export", {"number": who.number})
    assert (asked.status_code, asked.json["status"]) == (202, "pending")
    where: str = asked.headers["Location"]
    return where


def _read(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {
            name: json.loads(archive.read(name)) if name.endswith("json") else archive.read(name)
            for name in archive.namelist()
        }


def test_everything_about_a_caller_is_in_one_file(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)
    early = tenant_with_subject_data.api.get(f"{where}/file")
    world.run_jobs(tenant_with_subject_data)

    export = tenant_with_subject_data.api.get(where).json
    file = tenant_with_subject_data.api.get(f"{where}/file")

    assert (early.status_code, early.json["code"]) == (404, "export-not-ready")
    assert export["status"] == "done"
    assert export["size_bytes"] == len(file.data)
    found = _read(file.data)
    calls = {name: it for name, it in found.items() if name.startswith("calls/")}
    assert export["holds"] == found["export.json"]["holds"]
    assert (export["holds"]["calls"], len(calls)) == (3, 3)
    said = [turn["text"] for call in calls.values() for turn in call["turns"]]
    assert f"I am {erasure_subject.name}, {erasure_subject.phrase} please" in said
    assert {call["caller_number"] for call in calls.values()} & {erasure_subject.number}
    assert sorted(found[name] for name in found if name.startswith("audio/")) == sorted(
        erasure_subject.phrase.encode() * times for times in (50, 60)
    )
    assert {message["kind"] for message in found["messages.json"]} == {"message", "voicemail"}
    assert any(call["summary"] for call in calls.values())


def test_what_others_said_is_named_by_its_place_only(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)

    found = _read(tenant_with_subject_data.api.get(f"{where}/file").data)

    assert "my wife" not in str(found)
    own = {name.removeprefix("calls/").removesuffix(".json") for name in found}
    [others] = [
        call["id"] for call in tenant_with_subject_data.get("/calls").json if call["id"] not in own
    ]
    places = [place for place in found["mentions.json"] if place["table"] == "turns"]
    assert others in {place["key"][0] for place in places}


def test_nobody_knows_the_number_from_a_request_that_is_done(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)

    assert erasure_subject.texts_naming([str(tenant_with_subject_data.api.get(where).json)]) == []


def test_the_file_is_deleted_after_a_day(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    before = stored_files(tenant_with_subject_data)
    where = _ordered(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)
    assert len(stored_files(tenant_with_subject_data)) == len(before) + 1

    world.make_due(tenant_with_subject_data, "privacy.expire")
    world.run_jobs(tenant_with_subject_data)

    assert stored_files(tenant_with_subject_data) == before
    assert tenant_with_subject_data.api.get(where).json["status"] == "expired"
    gone = tenant_with_subject_data.api.get(f"{where}/file")
    assert (gone.status_code, gone.json["code"]) == (404, "export-deleted")


def test_the_export_of_a_caller_who_is_erased_is_deleted(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)

    tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    world.run_jobs(tenant_with_subject_data)

    assert stored_files(tenant_with_subject_data) == []
    assert tenant_with_subject_data.api.get(where).json["status"] == "expired"


def test_an_export_of_nobody_is_an_empty_one(
    acme: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(acme, erasure_subject)
    world.run_jobs(acme)

    assert set(acme.api.get(where).json["holds"].values()) == {0}


def test_another_tenants_calls_with_the_caller_are_not_in_it(
    tenant_with_subject_data: Tenant,
    globex: Tenant,
    world: Factory,
    erasure_subject: ErasureSubject,
) -> None:
    where = _ordered(globex, erasure_subject)
    world.run_jobs(globex)

    assert set(globex.api.get(where).json["holds"].values()) == {0}


def test_the_file_takes_the_scope_content_too(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)
    admin = world.api(world.key(tenant_with_subject_data.id, scopes=["admin"]))

    assert admin.get(where).status_code == 200
    assert admin.get(f"{where}/file").status_code == 403


def test_an_export_is_no_erasure(
    tenant_with_subject_data: Tenant, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)

    assert tenant_with_subject_data.api.get(where.replace("exports", "erasures")).status_code == 404


def test_a_file_that_is_missing_in_the_store_is_not_there(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)
    storage.current_store().delete_all(f"{tenant_with_subject_data.ref.id.hex}/exports")

    gone = tenant_with_subject_data.api.get(f"{where}/file")

    assert (gone.status_code, gone.json["code"]) == (404, "export-deleted")


def test_a_store_that_is_away_delays_an_export(
    tenant_with_subject_data: Tenant,
    world: Factory,
    erasure_subject: ErasureSubject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = _ordered(tenant_with_subject_data, erasure_subject)

    def away(*_: object, **__: object) -> None:
        raise StorageError("away", permanent=False)

    with monkeypatch.context() as patched:
        patched.setattr(type(storage.current_store()), "put", away)
        world.run_jobs(tenant_with_subject_data)
    assert tenant_with_subject_data.api.get(where).json["status"] == "pending"

    world.make_due(tenant_with_subject_data, "privacy.export")
    world.run_jobs(tenant_with_subject_data)

    assert tenant_with_subject_data.api.get(where).json["status"] == "done"
