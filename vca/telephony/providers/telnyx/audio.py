"""Recordings that Telnyx holds: found by their call, read as they come, deleted."""

import logging
from collections.abc import Generator
from typing import Any

import httpx2

from vca.telephony.adapter import TelephonyError, bounded
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import Asking
from vca.telephony.types import Recording

# It tells of every request, and whoever has this URL has the audio.
logging.getLogger("httpx2").setLevel(logging.WARNING)
_PIECE = 256 * 1024
_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def read(ask: Asking, call: str, recording_id: str | None) -> Recording | None:
    """A call's audio; None while Telnyx has none.

    It lies behind a URL that is signed for ten minutes, in somebody else's store: Telnyx's key is
    not for them, so it is not the SDK that fetches it.
    """
    found = _find(ask, call, recording_id)
    urls = getattr(found, "download_urls", None)
    for form, content_type in _TYPES.items():
        if url := getattr(urls, form, None):
            pieces = _pieces(url, ask.request_s)
            first = next(pieces, b"")
            return Recording(content_type, bounded(_with(first, pieces)))
    return None


def delete(ask: Asking, call: str, recording_id: str | None) -> None:
    """Delete what `read` gives; gone already is a success."""
    found = _find(ask, call, recording_id)
    if found is None:
        return
    try:
        ask(ask.client.recordings.delete, found.id)
    except TelephonyError as error:
        if error.code not in api.UNKNOWN:
            raise


def _find(ask: Asking, call: str, recording_id: str | None) -> Any:
    """The one of that id, else the call's first: an event may tell an id of its own."""
    page = ask(ask.client.recordings.list, filter={"call_control_id": call})
    known = sorted(api.items(page), key=lambda one: one.recording_started_at or "")
    named = [one for one in known if one.id == recording_id]
    return next(iter((*named, *known)), None)


def _with(first: bytes, pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    try:
        if first:
            yield first
        yield from pieces
    finally:
        pieces.close()


def _pieces(url: str, patience_s: float) -> Generator[bytes, None, None]:
    """A file as it comes; raises TelephonyError also midway."""
    try:
        with httpx2.stream(
            "GET", url, timeout=patience_s, follow_redirects=True, verify=api.trusted()
        ) as response:
            if response.status_code != 200:
                raise TelephonyError(
                    f"Telnyx's store answers {response.status_code}", permanent=False
                )
            yield from response.iter_bytes(_PIECE)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise TelephonyError("Telnyx's store does not answer", permanent=False) from error
