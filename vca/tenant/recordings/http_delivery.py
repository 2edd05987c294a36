"""A recording over HTTP: validators and ranges (RFC 9110), a part of it or all."""

from collections.abc import Iterable

from flask import Request, Response
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from vca.kit.storage import ObjectNotFound, StorageError, Store
from vca.tenant.recordings.media import EXTENSIONS
from vca.tenant.recordings.service import RecordingUnavailable, StoredRecording, StoreUnavailable

LINK_VALID_S = 300


def respond(request: Request, recording: StoredRecording, store: Store) -> Response:
    """The audio, the part of it that is asked for, or where it can be had.

    No transaction may be open. Raises RecordingNotThere, StoreAway, and 416 for what is not in it.
    """
    try:
        return _build_response(request, recording, store)
    except ObjectNotFound as error:
        raise RecordingUnavailable from error
    except StorageError as error:
        raise StoreUnavailable("The store of recordings is away.", retry_after_s=10) from error


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
    """A signed URL, of something that is there: the bucket's own 404 would tell nobody anything."""
    url = store.presigned_url(
        recording.key, content_type=recording.content_type, valid_s=LINK_VALID_S
    )
    if url is not None and not store.exists(recording.key):
        raise ObjectNotFound
    return url


def _byte_range(request: Request, recording: StoredRecording) -> tuple[int, int] | None:
    """(start, end) of the one range that is asked for; None: all of it.

    Several ranges, other units and what cannot be read are ignored, as RFC 9110 §14.2 has it; so
    is a range of another audio than this (If-Range).
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
