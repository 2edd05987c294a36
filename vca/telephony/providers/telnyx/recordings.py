"""Recordings that Telnyx holds: found by their call, read as they come, deleted."""

import logging
from collections.abc import Generator
from typing import Any

import httpx2

from vca.telephony.adapter import TelephonyError, limit_size
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.types import Recording

# It tells of every request, and whoever has this URL has the audio.
logging.getLogger("httpx2").setLevel(logging.WARNING)
_CHUNK_BYTES = 256 * 1024
_CONTENT_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def fetch(session: ApiSession, call_id: str, recording_id: str | None) -> Recording | None:
    """A call's audio; None while Telnyx has none.

    It lies behind a URL that is signed for ten minutes, in somebody else's store: Telnyx's key is
    not for them, so it is not the SDK that fetches it.
    """
    recording = _find_recording(session, call_id, recording_id)
    urls = getattr(recording, "download_urls", None)
    for file_format, content_type in _CONTENT_TYPES.items():
        if url := getattr(urls, file_format, None):
            chunks = _download(url, session.request_timeout_s)
            first_chunk = next(chunks, b"")
            return Recording(content_type, limit_size(_chain_chunks(first_chunk, chunks)))
    return None


def delete(session: ApiSession, call_id: str, recording_id: str | None) -> None:
    """Delete what `read` gives; gone already is a success."""
    recording = _find_recording(session, call_id, recording_id)
    if recording is None:
        return
    try:
        session(session.client.recordings.delete, recording.id)
    except TelephonyError as error:
        if error.code not in api.NOT_FOUND_CODES:
            raise


def _find_recording(session: ApiSession, call_id: str, recording_id: str | None) -> Any:
    """The one of that id, else the call's first: an event may tell an id of its own."""
    page = session(session.client.recordings.list, filter={"call_control_id": call_id})
    recordings = sorted(api.page_items(page), key=lambda one: one.recording_started_at or "")
    exact_matches = [one for one in recordings if one.id == recording_id]
    return next(iter((*exact_matches, *recordings)), None)


def _chain_chunks(
    first_chunk: bytes, chunks: Generator[bytes, None, None]
) -> Generator[bytes, None, None]:
    try:
        if first_chunk:
            yield first_chunk
        yield from chunks
    finally:
        chunks.close()


def _download(url: str, timeout_s: float) -> Generator[bytes, None, None]:
    """A file as it comes; raises TelephonyError also midway."""
    try:
        with httpx2.stream(
            "GET", url, timeout=timeout_s, follow_redirects=True, verify=api.tls_context()
        ) as response:
            if response.status_code != 200:
                raise TelephonyError(
                    f"Telnyx's store answers {response.status_code}", permanent=False
                )
            yield from response.iter_bytes(_CHUNK_BYTES)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise TelephonyError("Telnyx's store does not answer", permanent=False) from error
