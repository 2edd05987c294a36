"""Tests of `/tenants/{tenant_id}/calls/{call_id}/recording`: ranges, caching, errors and S3."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from tests.support.api import ApiResponse
from tests.support.factories import Factory, Tenant
from tests.support.recordings import (
    AUDIO,
    FailingStore,
    expect_recording,
    get_recording,
    store_recording,
    stored_files,
)
from tests.support.s3_server import BUCKET, CREDENTIALS, s3_server
from tests.support.services import use_services
from vca.kit import storage
from vca.kit.storage import StorageError
from vca.kit.storage.s3 import S3Store
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

SIZE = len(AUDIO)
ETAG = f'"{hashlib.sha256(AUDIO).hexdigest()}"'


@pytest.fixture
def path(acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter) -> str:
    """Store a recording of Acme and return its path."""
    return f"/calls/{store_recording(acme, world, carrier)}/recording"


def _request_recording(
    tenant: Tenant, path: str, method: str = "GET", **headers: str
) -> ApiResponse:
    header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return tenant.api.send(method, tenant.url(path), headers=header_fields)


def test_get_returns_the_complete_recording(acme: Tenant, path: str) -> None:
    response = acme.get(path)

    assert (response.status_code, response.data) == (200, AUDIO)
    assert response.content_type == "audio/wav"
    assert response.headers["ETag"] == ETAG
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("range_header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        (f"bytes=-{SIZE + 5}", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes=5-{SIZE * 9}", 5, SIZE),
        ("bytes = 1 - 2 ", 1, 3),
        ("BYTES=0-0", 0, 1),
    ],
)
def test_a_single_range_returns_that_part(
    acme: Tenant, path: str, range_header: str, start: int, end: int
) -> None:
    response = _request_recording(acme, path, Range=range_header)

    assert (response.status_code, response.data) == (206, AUDIO[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(end - start)
    assert response.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    "range_header",
    [
        "bytes=0-0,5-9",
        "bytes=",
        "bytes=-",
        "bytes=-0",
        "bytes=9-5",
        "bytes=a-b",
        "bytes=0x1-0x2",
        "bytes=1.5-2",
        "bytes=+1-2",
        "bytes=\u0661-\u0662",
        "bytes=" + "9" * 5_000 + "-",
        "items=0-5",
        "0-5",
        "",
    ],
)
def test_a_header_that_is_not_one_byte_range_returns_the_complete_recording(
    acme: Tenant, path: str, range_header: str
) -> None:
    response = _request_recording(acme, path, Range=range_header)

    assert (response.status_code, response.data) == (200, AUDIO)


@pytest.mark.parametrize(
    "range_header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=9999999-"]
)
def test_a_range_outside_the_recording_returns_416_with_the_size(
    acme: Tenant, path: str, range_header: str
) -> None:
    response = _request_recording(acme, path, Range=range_header)

    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"
    assert response.json["code"] == "requested-range-not-satisfiable"


def test_if_range_returns_a_part_only_for_the_same_strong_etag(acme: Tenant, path: str) -> None:
    same = _request_recording(acme, path, Range="bytes=0-0", If_Range=ETAG)
    other = _request_recording(acme, path, Range="bytes=0-0", If_Range='"another"')
    weak = _request_recording(acme, path, Range="bytes=0-0", If_Range=f"W/{ETAG}")
    dated = _request_recording(
        acme, path, Range="bytes=0-0", If_Range="Sun, 22 Nov 2026 18:00:00 GMT"
    )

    assert [response.status_code for response in (same, other, weak, dated)] == [206, 200, 200, 200]


@pytest.mark.parametrize("if_none_match", [ETAG, f"W/{ETAG}", f'"another", {ETAG}', "*"])
def test_a_matching_if_none_match_returns_304(acme: Tenant, path: str, if_none_match: str) -> None:
    response = _request_recording(acme, path, If_None_Match=if_none_match)

    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == ETAG
    assert _request_recording(acme, path, If_None_Match='"another"').status_code == 200


def test_head_returns_the_headers_without_the_audio(acme: Tenant, path: str) -> None:
    response = _request_recording(acme, path, "HEAD", Range="bytes=0-0")

    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["ETag"] == ETAG
    assert response.headers["Accept-Ranges"] == "bytes"


def test_an_empty_recording_returns_200_with_an_empty_body(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    path = f"/calls/{store_recording(acme, world, carrier, audio=b'')}/recording"

    head_response = _request_recording(acme, path, "HEAD")
    assert (head_response.status_code, head_response.headers["Content-Length"]) == (200, "0")
    client = acme.api._client
    response = client.get(acme.url(path), headers={"Authorization": f"Bearer {acme.key}"})
    assert (response.status_code, response.data) == (200, b"")
    assert _request_recording(acme, path, Range="bytes=0-").status_code == 416


@pytest.mark.parametrize(
    ("carrier_type", "served_type"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("Audio/X-WAV; rate=8000", "audio/wav"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_only_known_content_types_of_carriers_are_served(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, carrier_type: str, served_type: str
) -> None:
    call_id = store_recording(acme, world, carrier, content_type=carrier_type)

    assert acme.get(f"/calls/{call_id}/recording").content_type == served_type


def test_a_missing_recording_returns_404_with_a_code_for_the_reason(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    pending_id, missing_id = expect_recording(acme), store_recording(acme, world, carrier)
    stored_files(acme)[0].unlink()
    unknown = acme.get(f"/calls/{uuid4()}/recording")
    other_kind = acme.get(f"/calls/{missing_id}/recording", kind="voicemail")
    responses = {
        "not-found": unknown,
        "recording-not-ready": acme.get(f"/calls/{pending_id}/recording"),
        "recording-missing": acme.get(f"/calls/{missing_id}/recording"),
    }

    codes = {code: response.json["code"] for code, response in responses.items()}
    assert codes == {code: code for code in responses}
    assert {response.status_code for response in responses.values()} == {404}
    assert other_kind.json["code"] == "not-found"
    assert _request_recording(acme, f"/calls/{missing_id}/recording", "HEAD").status_code == 404


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("storage_key", "NULL"),
        ("storage_key", "'../../../etc/passwd'"),
        ("size_bytes", "NULL"),
        ("size_bytes", "-1"),
        ("sha256", "NULL"),
        ("sha256", "E'x\\r\\nSet-Cookie: a=b'"),
    ],
)
def test_an_invalid_imported_row_returns_recording_missing(
    acme: Tenant, world: Factory, path: str, column: str, value: str
) -> None:
    world.sql(acme, f"UPDATE recordings SET {column} = {value}")

    response = acme.get(path)

    assert (response.status_code, response.json["code"]) == (404, "recording-missing")


def test_a_recording_of_another_tenant_returns_404(
    acme: Tenant, globex: Tenant, world: Factory, path: str
) -> None:
    for method in ("GET", "HEAD"):
        assert _request_recording(globex, path, method).status_code == 404
    assert globex.get(path).json["code"] == "not-found"
    key = world.key(acme.id, scopes=["read", "write", "admin"])
    response = world.api(key).get(acme.url(path))
    assert (response.status_code, response.json["code"]) == (403, "scope-missing")


def test_an_unavailable_store_returns_503(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    path = f"/calls/{store_recording(acme, world, carrier)}/recording"
    failing_store.failure = StorageError("no such bucket in eu-west-1", permanent=False)

    response = acme.get(path)

    assert (response.status_code, response.json["code"]) == (503, "store-away")
    assert response.headers["Retry-After"]
    assert "bucket" not in response.text


def test_the_file_is_closed_when_the_client_disconnects(
    acme: Tenant, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_readers: list[storage.ObjectReader] = []
    close = storage.ObjectReader.close

    def close_and_record(reader: storage.ObjectReader) -> None:
        closed_readers.append(reader)
        close(reader)

    monkeypatch.setattr(storage.ObjectReader, "close", close_and_record)
    headers = {"Authorization": f"Bearer {acme.key}"}

    client = acme.api._client
    response = client.get(acme.url(path), headers=headers, buffered=False)
    assert closed_readers == []
    response.close()

    assert len(closed_readers) == 1


# --- Recordings in S3 ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """Return the URL of an S3 server with one bucket."""
    with s3_server() as url:
        yield url


@pytest.fixture(params=[True, False])
def s3_store(
    request: pytest.FixtureRequest,
    failing_store: FailingStore,
    s3_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> S3Store:
    """Install an S3 store, with and without signed URLs."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = S3Store(BUCKET, endpoint_url=s3_url, region="eu-west-1", presign=request.param)
    use_services(store=store)
    return store


def test_a_recording_in_s3_is_streamed_or_redirected_to_a_signed_url(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, s3_store: S3Store
) -> None:
    call_id = store_recording(acme, world, carrier)

    range_response = _request_recording(acme, f"/calls/{call_id}/recording", Range="bytes=5-9")
    head_response = _request_recording(acme, f"/calls/{call_id}/recording", "HEAD")
    s3_store.delete(get_recording(acme, call_id).storage_key or "")
    missing_response = acme.get(f"/calls/{call_id}/recording")

    if s3_store._presign:
        assert (range_response.status_code, range_response.data) == (302, b"")
        assert parse_qs(urlsplit(range_response.headers["Location"]).query)["X-Amz-Expires"] == [
            "300"
        ]
    else:
        assert (range_response.status_code, range_response.data) == (206, AUDIO[5:10])
    assert (head_response.status_code, head_response.headers["Content-Length"]) == (200, str(SIZE))
    assert (missing_response.status_code, missing_response.json["code"]) == (
        404,
        "recording-missing",
    )
