"""Send a recording over HTTP with validators and byte ranges (RFC 9110)."""

from collections.abc import Iterable

from flask import Request, Response
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from vca.kit.storage import ObjectNotFound, StorageError, Store
from vca.tenant.recordings.media import EXTENSIONS
from vca.tenant.recordings.service import RecordingUnavailable, StoredRecording, StoreUnavailable

LINK_VALID_S = 300


def respond(request: Request, recording: StoredRecording, store: Store) -> Response:
    """Return the audio, the requested part of it, or a redirect to a signed URL.

    No transaction may be open. Raise RecordingUnavailable, StoreUnavailable, and 416 for a range
    outside the audio.
    """
    try:
        return _build_response(request, recording, store)
    except ObjectNotFound as error:
        raise RecordingUnavailable from error
    except StorageError as error:
        raise StoreUnavailable(
            "The storage of recordings cannot be reached.", retry_after_s=10
        ) from error


def _build_response(request: Request, recording: StoredRecording, store: Store) -> Response:
    is_get = request.method == "GET"
    if request.if_none_match.contains_weak(recording.sha256):
        return Response(status=304, headers={"ETag": _etag(recording)})
    byte_range = _byte_range(request, recording) if is_get else None
    url = _signed_url(recording, store) if is_get else None
    if url is not None:
        return Response(status=302, headers={"Location": url})
    if not is_get:
        if not store.exists(recording.key):
            raise ObjectNotFound
        return _audio_response(recording, (), 0, recording.size_bytes)
    start, end = byte_range or (0, recording.size_bytes)
    audio = store.open(recording.key, start=start, length=end - start)
    response = _audio_response(recording, audio, start, end)
    if byte_range is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{recording.size_bytes}"
    return response


def _audio_response(
    recording: StoredRecording, audio: Iterable[bytes], start: int, end: int
) -> Response:
    file_name = f"{recording.recording_id}.{EXTENSIONS[recording.content_type]}"
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{file_name}"',
        "Content-Length": str(end - start),
        "ETag": _etag(recording),
    }
    return Response(audio, headers=headers, content_type=recording.content_type)


def _signed_url(recording: StoredRecording, store: Store) -> str | None:
    """Return a signed URL of existing audio, or None if the store makes none.

    Missing audio raises here, because the bucket's own 404 page would not help the client.
    """
    url = store.presigned_url(
        recording.key, content_type=recording.content_type, valid_s=LINK_VALID_S
    )
    if url is not None and not store.exists(recording.key):
        raise ObjectNotFound
    return url


def _byte_range(request: Request, recording: StoredRecording) -> tuple[int, int] | None:
    """Return (start, end) of the requested range, or None for the whole audio.

    Several ranges, other units and malformed headers are ignored, as RFC 9110 §14.2 demands. A
    range is also ignored if If-Range names other audio.
    """
    requested_range, size = request.range, recording.size_bytes
    if (
        requested_range is None
        or requested_range.units != "bytes"
        or len(requested_range.ranges) != 1
    ):
        return None
    if request.headers.get("If-Range", _etag(recording)) != _etag(recording):
        return None
    start, end = requested_range.ranges[0]
    if start < 0:
        start = max(0, size + start)
    if start >= size:
        raise RequestedRangeNotSatisfiable(size)
    return start, min(end or size, size)


def _etag(recording: StoredRecording) -> str:
    return f'"{recording.sha256}"'
