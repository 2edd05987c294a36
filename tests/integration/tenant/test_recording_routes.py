"""`T/calls/{id}/recording`: whole and in part, unchanged, elsewhere, or not there and why."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
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
from vca.kit import storage
from vca.kit.storage import StorageError
from vca.kit.storage.s3 import S3Store
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

SIZE = len(AUDIO)
ETAG = f'"{hashlib.sha256(AUDIO).hexdigest()}"'


@pytest.fixture
def path(acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter) -> str:
    """Where a recording of Acme's is."""
    return f"/calls/{store_recording(acme, world, carrier)}/recording"


def _asked(tenant: Tenant, path: str, method: str = "GET", **headers: str) -> ApiResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return tenant.api.send(method, tenant.url(path), headers=named)


def test_the_whole_recording(acme: Tenant, path: str) -> None:
    heard = acme.get(path)

    assert (heard.status_code, heard.data) == (200, AUDIO)
    assert heard.content_type == "audio/wav"
    assert heard.headers["ETag"] == ETAG
    assert heard.headers["Accept-Ranges"] == "bytes"
    assert heard.headers["Content-Length"] == str(SIZE)
    assert heard.headers["X-Content-Type-Options"] == "nosniff"
    assert heard.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
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
def test_one_range(acme: Tenant, path: str, wanted: str, start: int, end: int) -> None:
    heard = _asked(acme, path, Range=wanted)

    assert (heard.status_code, heard.data) == (206, AUDIO[start:end])
    assert heard.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert heard.headers["Content-Length"] == str(end - start)
    assert heard.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    "wanted",
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
def test_what_is_no_single_range_of_bytes_is_answered_with_the_whole(
    acme: Tenant, path: str, wanted: str
) -> None:
    heard = _asked(acme, path, Range=wanted)

    assert (heard.status_code, heard.data) == (200, AUDIO)


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=9999999-"])
def test_a_range_that_is_not_in_it_is_416_with_the_size(
    acme: Tenant, path: str, wanted: str
) -> None:
    refused = _asked(acme, path, Range=wanted)

    assert refused.status_code == 416
    assert refused.headers["Content-Range"] == f"bytes */{SIZE}"
    assert refused.json["code"] == "requested-range-not-satisfiable"


def test_a_range_is_only_given_of_the_audio_that_is_meant(acme: Tenant, path: str) -> None:
    same = _asked(acme, path, Range="bytes=0-0", If_Range=ETAG)
    other = _asked(acme, path, Range="bytes=0-0", If_Range='"another"')
    weak = _asked(acme, path, Range="bytes=0-0", If_Range=f"W/{ETAG}")
    dated = _asked(acme, path, Range="bytes=0-0", If_Range="Sun, 22 Nov 2026 18:00:00 GMT")

    assert [it.status_code for it in (same, other, weak, dated)] == [206, 200, 200, 200]


@pytest.mark.parametrize("given", [ETAG, f"W/{ETAG}", f'"another", {ETAG}', "*"])
def test_audio_that_is_known_is_not_sent_again(acme: Tenant, path: str, given: str) -> None:
    known = _asked(acme, path, If_None_Match=given)

    assert (known.status_code, known.data) == (304, b"")
    assert known.headers["ETag"] == ETAG
    assert _asked(acme, path, If_None_Match='"another"').status_code == 200


def test_head_tells_the_same_without_the_audio(acme: Tenant, path: str) -> None:
    told = _asked(acme, path, "HEAD", Range="bytes=0-0")

    assert (told.status_code, told.data) == (200, b"")
    assert told.headers["Content-Length"] == str(SIZE)
    assert told.headers["ETag"] == ETAG
    assert told.headers["Accept-Ranges"] == "bytes"


def test_an_empty_recording_is_one(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    path = f"/calls/{store_recording(acme, world, carrier, audio=b'')}/recording"

    told = _asked(acme, path, "HEAD")
    assert (told.status_code, told.headers["Content-Length"]) == (200, "0")
    client: Any = acme.api._client
    heard = client.get(acme.url(path), headers={"Authorization": f"Bearer {acme.key}"})
    assert (heard.status_code, heard.data) == (200, b"")
    assert _asked(acme, path, Range="bytes=0-").status_code == 416


@pytest.mark.parametrize(
    ("told", "served"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("Audio/X-WAV; rate=8000", "audio/wav"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_carriers_word_for_its_audio_is_not_passed_on_to_a_browser(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, told: str, served: str
) -> None:
    call_id = store_recording(acme, world, carrier, content_type=told)

    assert acme.get(f"/calls/{call_id}/recording").content_type == served


def test_what_is_not_there_is_404_and_the_code_says_why(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    pending, gone = expect_recording(acme), store_recording(acme, world, carrier)
    stored_files(acme)[0].unlink()
    unknown = acme.get(f"/calls/{uuid4()}/recording")
    other_kind = acme.get(f"/calls/{gone}/recording", kind="voicemail")
    answers = {
        "not-found": unknown,
        "recording-not-ready": acme.get(f"/calls/{pending}/recording"),
        "recording-missing": acme.get(f"/calls/{gone}/recording"),
    }

    assert {code: it.json["code"] for code, it in answers.items()} == {it: it for it in answers}
    assert {it.status_code for it in answers.values()} == {404}
    assert other_kind.json["code"] == "not-found"
    assert _asked(acme, f"/calls/{gone}/recording", "HEAD").status_code == 404


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
def test_a_row_that_an_archive_brought_is_not_believed(
    acme: Tenant, world: Factory, path: str, column: str, value: str
) -> None:
    world.sql(acme, f"UPDATE recordings SET {column} = {value}")

    refused = acme.get(path)

    assert (refused.status_code, refused.json["code"]) == (404, "recording-missing")


def test_another_tenants_recording_does_not_exist(
    acme: Tenant, globex: Tenant, world: Factory, path: str
) -> None:
    for method in ("GET", "HEAD"):
        assert _asked(globex, path, method).status_code == 404
    assert globex.get(path).json["code"] == "not-found"
    key = world.key(acme.id, scopes=["read", "write", "admin"])
    refused = world.api(key).get(acme.url(path))
    assert (refused.status_code, refused.json["code"]) == (403, "scope-missing")


def test_a_store_that_is_away_is_503(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    path = f"/calls/{store_recording(acme, world, carrier)}/recording"
    failing_store.failure = StorageError("no such bucket in eu-west-1", permanent=False)

    refused = acme.get(path)

    assert (refused.status_code, refused.json["code"]) == (503, "store-away")
    assert refused.headers["Retry-After"]
    assert "bucket" not in refused.text


def test_the_file_is_let_go_when_the_listener_hangs_up(
    acme: Tenant, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    close = storage.ObjectReader.close
    monkeypatch.setattr(
        storage.ObjectReader, "close", lambda opened: (closed.append(True), close(opened))[1]
    )
    headers = {"Authorization": f"Bearer {acme.key}"}

    client: Any = acme.api._client
    answer = client.get(acme.url(path), headers=headers, buffered=False)
    assert closed == []
    answer.close()

    assert closed == [True]


# --- From a bucket -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server of S3 with one bucket."""
    with s3_server() as url:
        yield url


@pytest.fixture(params=[True, False])
def bucket(
    request: pytest.FixtureRequest,
    failing_store: FailingStore,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> S3Store:
    """The process's store is a bucket, with signed URLs or without."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    made = S3Store(BUCKET, endpoint_url=endpoint, region="eu-west-1", presign=request.param)
    storage.set_current_store(made)
    return made


def test_from_a_bucket_it_comes_through_us_or_over_a_signed_url(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, bucket: S3Store
) -> None:
    call_id = store_recording(acme, world, carrier)

    heard = _asked(acme, f"/calls/{call_id}/recording", Range="bytes=5-9")
    told = _asked(acme, f"/calls/{call_id}/recording", "HEAD")
    bucket.delete(get_recording(acme, call_id).storage_key or "")
    gone = acme.get(f"/calls/{call_id}/recording")

    if bucket._presign:
        assert (heard.status_code, heard.data) == (302, b"")
        assert parse_qs(urlsplit(heard.headers["Location"]).query)["X-Amz-Expires"] == ["300"]
    else:
        assert (heard.status_code, heard.data) == (206, AUDIO[5:10])
    assert (told.status_code, told.headers["Content-Length"]) == (200, str(SIZE))
    assert (gone.status_code, gone.json["code"]) == (404, "recording-missing")
