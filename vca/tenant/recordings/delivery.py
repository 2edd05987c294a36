"""A recording over HTTP: validators and ranges (RFC 9110), a part of it or all."""

from collections.abc import Iterable

from flask import Request, Response
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from vca.kit.storage import Missing, StorageError, Store
from vca.tenant.recordings.audio import EXTENSIONS
from vca.tenant.recordings.service import Kept, RecordingNotThere, StoreAway

LINK_VALID_S = 300


def answer(asked: Request, kept: Kept, store: Store) -> Response:
    """The audio, the part of it that is asked for, or where it can be had.

    No transaction may be open. Raises RecordingNotThere, StoreAway, and 416 for what is not in it.
    """
    try:
        return _answer(asked, kept, store)
    except Missing as error:
        raise RecordingNotThere from error
    except StorageError as error:
        raise StoreAway("The store of recordings is away.", retry_after_s=10) from error


def _answer(asked: Request, kept: Kept, store: Store) -> Response:
    reading = asked.method == "GET"
    if asked.if_none_match.contains_weak(kept.sha256):
        return Response(status=304, headers={"ETag": _etag(kept)})
    span = _span(asked, kept) if reading else None
    link = _link(kept, store) if reading else None
    if link is not None:
        return Response(status=302, headers={"Location": link})
    if not reading:
        if not store.exists(kept.key):
            raise Missing
        return _response(kept, (), 0, kept.size_bytes)
    start, end = span or (0, kept.size_bytes)
    audio = store.open(kept.key, start=start, length=end - start)
    response = _response(kept, audio, start, end)
    if span is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{kept.size_bytes}"
    return response


def _response(kept: Kept, audio: Iterable[bytes], start: int, end: int) -> Response:
    name = f"{kept.recording_id}.{EXTENSIONS[kept.content_type]}"
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{name}"',
        "Content-Length": str(end - start),
        "ETag": _etag(kept),
    }
    return Response(audio, headers=headers, content_type=kept.content_type)


def _link(kept: Kept, store: Store) -> str | None:
    """A signed URL, of something that is there: the bucket's own 404 would tell nobody anything."""
    link = store.link(kept.key, content_type=kept.content_type, valid_s=LINK_VALID_S)
    if link is not None and not store.exists(kept.key):
        raise Missing
    return link


def _span(asked: Request, kept: Kept) -> tuple[int, int] | None:
    """(start, end) of the one range that is asked for; None: all of it.

    Several ranges, other units and what cannot be read are ignored, as RFC 9110 §14.2 has it; so
    is a range of another audio than this (If-Range).
    """
    wanted, size = asked.range, kept.size_bytes
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    if asked.headers.get("If-Range", _etag(kept)) != _etag(kept):
        return None
    start, end = wanted.ranges[0]
    if start < 0:
        start = max(0, size + start)
    if start >= size:
        raise RequestedRangeNotSatisfiable(size)
    return start, min(end or size, size)


def _etag(kept: Kept) -> str:
    return f'"{kept.sha256}"'
