"""Export of a data subject: a file with all of their data, which is deleted after a day."""

import io
import zipfile
from typing import Any

import pytest
from sqlalchemy import select

from tests.integration.calls.conftest import RealCallerCarrier
from tests.support import erasure_fixture
from tests.support.carrier_client import CarrierClient
from tests.support.erasure_fixture import ErasureSubject
from tests.support.factories import Factory, Tenant
from tests.support.recordings import stored_files
from tests.support.services import app_services
from vca.kit import json
from vca.kit.storage import StorageError
from vca.tenancy.session import tenant_session
from vca.tenant.recordings.models import Recording


@pytest.fixture
def erasure_subject() -> ErasureSubject:
    """Return a caller whose number, name and phrase occur nowhere else."""
    return erasure_fixture.create_subject()


@pytest.fixture
def tenant_with_subject_data(
    world: Factory,
    acme: Tenant,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    erasure_subject: ErasureSubject,
) -> Tenant:
    """Return acme, with data of the subject and a call of another caller who mentions them."""
    erasure_fixture.create_subject_data(
        world,
        acme,
        carrier_client,
        real_carrier,
        erasure_subject,
        erasure_fixture.create_numbers(acme),
    )
    return acme


def _request_export(tenant: Tenant, subject: ErasureSubject) -> str:
    """Request an export and return its URL."""
    response = tenant.post("/privacy/export", {"number": subject.number})
    assert (response.status_code, response.json["status"]) == (202, "pending")
    export_url: str = response.headers["Location"]
    return export_url


def _read_archive(content: bytes) -> dict[str, Any]:
    """Return the files of the archive by name; JSON files are parsed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {
            name: json.loads(archive.read(name)) if name.endswith("json") else archive.read(name)
            for name in archive.namelist()
        }


def test_an_export_contains_all_data_of_the_subject(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    early_response = tenant_with_subject_data.api.get(f"{export_url}/file")
    world.run_jobs(tenant_with_subject_data)

    export = tenant_with_subject_data.api.get(export_url).json
    file_response = tenant_with_subject_data.api.get(f"{export_url}/file")

    assert (early_response.status_code, early_response.json["code"]) == (404, "export-not-ready")
    assert export["status"] == "done"
    assert export["size_bytes"] == len(file_response.data)
    files = _read_archive(file_response.data)
    calls = {name: content for name, content in files.items() if name.startswith("calls/")}
    assert export["holds"] == files["export.json"]["holds"]
    assert (export["holds"]["calls"], len(calls)) == (3, 3)
    turn_texts = [turn["text"] for call in calls.values() for turn in call["turns"]]
    assert f"I am {erasure_subject.name}, {erasure_subject.phrase} please" in turn_texts
    assert {call["caller_number"] for call in calls.values()} & {erasure_subject.number}
    assert sorted(files[name] for name in files if name.startswith("audio/")) == sorted(
        erasure_subject.phrase.encode() * times for times in (50, 60)
    )
    assert {message["kind"] for message in files["messages.json"]} == {"message", "voicemail"}
    assert any(call["summary"] for call in calls.values())


def test_a_mention_by_another_caller_is_exported_without_its_text(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)

    files = _read_archive(tenant_with_subject_data.api.get(f"{export_url}/file").data)

    assert "my wife" not in str(files)
    exported_ids = {name.removeprefix("calls/").removesuffix(".json") for name in files}
    [mentioning_call_id] = [
        call["id"]
        for call in tenant_with_subject_data.get("/calls").json
        if call["id"] not in exported_ids
    ]
    mentions = [mention for mention in files["mentions.json"] if mention["table"] == "turns"]
    assert mentioning_call_id in {mention["key"][0] for mention in mentions}


def test_a_finished_export_request_does_not_contain_the_number(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)
    export = tenant_with_subject_data.api.get(export_url).json

    assert erasure_subject.texts_naming([str(export)]) == []


def test_the_file_is_deleted_after_a_day(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    files_before = stored_files(tenant_with_subject_data)
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)
    assert len(stored_files(tenant_with_subject_data)) == len(files_before) + 1

    world.make_due(tenant_with_subject_data, "privacy.expire")
    world.run_jobs(tenant_with_subject_data)

    assert stored_files(tenant_with_subject_data) == files_before
    assert tenant_with_subject_data.api.get(export_url).json["status"] == "expired"
    response = tenant_with_subject_data.api.get(f"{export_url}/file")
    assert (response.status_code, response.json["code"]) == (404, "export-deleted")


def test_an_erasure_deletes_the_exports_of_the_subject(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)

    tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    world.run_jobs(tenant_with_subject_data)

    assert stored_files(tenant_with_subject_data) == []
    assert tenant_with_subject_data.api.get(export_url).json["status"] == "expired"


def test_the_export_of_a_number_without_data_is_empty(
    acme: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(acme, erasure_subject)
    world.run_jobs(acme)

    assert set(acme.api.get(export_url).json["holds"].values()) == {0}


def test_an_export_does_not_contain_calls_of_another_tenant(
    tenant_with_subject_data: Tenant,
    globex: Tenant,
    world: Factory,
    erasure_subject: ErasureSubject,
) -> None:
    export_url = _request_export(globex, erasure_subject)
    world.run_jobs(globex)

    assert set(globex.api.get(export_url).json["holds"].values()) == {0}


def test_the_export_file_requires_the_scope_content(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)
    admin_api = world.api(world.key(tenant_with_subject_data.id, scopes=["admin"]))

    assert admin_api.get(export_url).status_code == 200
    assert admin_api.get(f"{export_url}/file").status_code == 403


def test_the_erasures_path_does_not_return_an_export(
    tenant_with_subject_data: Tenant, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    erasure_url = export_url.replace("exports", "erasures")

    assert tenant_with_subject_data.api.get(erasure_url).status_code == 404


def test_an_export_file_that_is_missing_in_the_store_returns_404(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)
    world.run_jobs(tenant_with_subject_data)
    app_services().store.delete_all(f"{tenant_with_subject_data.ref.id.hex}/exports")

    response = tenant_with_subject_data.api.get(f"{export_url}/file")

    assert (response.status_code, response.json["code"]) == (404, "export-deleted")


def test_an_unreachable_store_delays_an_export(
    tenant_with_subject_data: Tenant,
    world: Factory,
    erasure_subject: ErasureSubject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export_url = _request_export(tenant_with_subject_data, erasure_subject)

    def fail_to_put(*_: object, **__: object) -> None:
        raise StorageError("away", permanent=False)

    with monkeypatch.context() as patch:
        patch.setattr(type(app_services().store), "put", fail_to_put)
        world.run_jobs(tenant_with_subject_data)
    assert tenant_with_subject_data.api.get(export_url).json["status"] == "pending"

    world.make_due(tenant_with_subject_data, "privacy.export")
    world.run_jobs(tenant_with_subject_data)

    assert tenant_with_subject_data.api.get(export_url).json["status"] == "done"


# An imported row can name any key of the store.
@pytest.mark.parametrize("operation", ["export", "erase"])
def test_a_recording_that_names_a_file_of_another_tenant_does_not_reach_it(
    tenant_with_subject_data: Tenant,
    world: Factory,
    globex: Tenant,
    erasure_subject: ErasureSubject,
    operation: str,
) -> None:
    foreign_key = f"{globex.ref.id.hex}/recording.mp3"
    app_services().store.put(foreign_key, [b"audio of globex"], content_type="audio/mpeg")
    with tenant_session(tenant_with_subject_data.ref, database=app_services().database) as session:
        recordings = session.scalars(select(Recording).where(Recording.status == "stored")).all()
        for recording in recordings:
            recording.storage_key = foreign_key
    assert recordings

    if operation == "export":
        export_url = _request_export(tenant_with_subject_data, erasure_subject)
    else:
        tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    world.run_jobs(tenant_with_subject_data)

    assert app_services().store.exists(foreign_key)
    if operation == "export":
        files = _read_archive(tenant_with_subject_data.api.get(f"{export_url}/file").data)
        assert files["export.json"]["holds"]["recordings"] == 0
        assert not [name for name in files if name.startswith("audio/")]
