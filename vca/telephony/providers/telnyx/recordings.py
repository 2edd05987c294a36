"""Recordings at Telnyx: find them by their call, stream and delete them."""

import logging
from collections.abc import Generator
from typing import Any

import httpx2

from vca.telephony.adapter import TelephonyError, limit_size
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.types import Recording

# httpx2 logs every request, and anybody with this URL can fetch the audio.
logging.getLogger("httpx2").setLevel(logging.WARNING)
_CHUNK_BYTES = 256 * 1024
_CONTENT_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def fetch(session: ApiSession, call_id: str, recording_id: str | None) -> Recording | None:
    """Return a call's audio, or None while Telnyx has none.

    The audio is behind a URL that is signed for ten minutes, in a third party's storage. The SDK
    does not fetch it, because it would send Telnyx's API key there.
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
    """Delete the recording that `fetch` returns. Succeeds if it no longer exists."""
    recording = _find_recording(session, call_id, recording_id)
    if recording is None:
        return
    try:
        session(session.client.recordings.delete, recording.id)
    except TelephonyError as error:
        if error.code not in api.NOT_FOUND_CODES:
            raise


def _find_recording(session: ApiSession, call_id: str, recording_id: str | None) -> Any:
    """Return the recording with this id, else the call's first: an event may have another id."""
    page = session(session.client.recordings.list, filter={"call_control_id": call_id})
    recordings = sorted(
        api.page_items(page), key=lambda recording: recording.recording_started_at or ""
    )
    exact_matches = [recording for recording in recordings if recording.id == recording_id]
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
    """Yield a file as it arrives. Raises TelephonyError, also midway."""
    try:
        with httpx2.stream(
            "GET", url, timeout=timeout_s, follow_redirects=True, verify=api.tls_context()
        ) as response:
            if response.status_code != 200:
                raise TelephonyError(
                    f"Telnyx's storage returned {response.status_code}", permanent=False
                )
            yield from response.iter_bytes(_CHUNK_BYTES)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise TelephonyError("Telnyx's storage does not respond", permanent=False) from error
