"""The kinds of audio that are kept, and the places of recordings in the store."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from vca.kit import storage
from vca.tenancy.schema import TenantRef

OTHER = "application/octet-stream"
EXTENSIONS = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/webm": "webm",
    OTHER: "bin",
}
_SPELLINGS = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
}


def type_of(told: str) -> str:
    """The content type under which audio is kept and served.

    A carrier's word for anything else, a page of HTML for instance, is not passed on.
    """
    plain = told.partition(";")[0].strip().lower()
    plain = _SPELLINGS.get(plain, plain)
    return plain if plain in EXTENSIONS else OTHER


def folder_of(tenant: TenantRef) -> str:
    """Where all audio of a tenant is."""
    return tenant.id.hex


def key_of(
    tenant: TenantRef, *, recording_id: UUID, created_at: datetime, content_type: str
) -> str:
    """Where a recording is; always the same, so that what is fetched twice is kept once."""
    name = f"{recording_id.hex}.{EXTENSIONS[content_type]}"
    return f"{folder_of(tenant)}/{created_at:%Y/%m}/{name}"


def keys_of(
    tenant: TenantRef, *, recording_id: UUID, created_at: datetime
) -> Iterator[tuple[str, str]]:
    """(content type, key) of everywhere that a recording can be."""
    for content_type in EXTENSIONS:
        yield (
            content_type,
            key_of(
                tenant, recording_id=recording_id, created_at=created_at, content_type=content_type
            ),
        )


def is_own(tenant: TenantRef, key: str) -> bool:
    """Whether a row's key is of this tenant's audio.

    Rows that were imported may say anything; another tenant's audio they must not reach.
    """
    return storage.in_folder(key, folder_of(tenant))
