"""The kinds of audio that are kept, and the places of recordings in the store."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from vca.kit import storage
from vca.tenancy.schema import TenantRef

UNKNOWN_TYPE = "application/octet-stream"
EXTENSIONS = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/webm": "webm",
    UNKNOWN_TYPE: "bin",
}
_TYPE_ALIASES = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
}


def normalize_content_type(raw_type: str) -> str:
    """The content type under which audio is kept and served.

    A carrier's word for anything else, a page of HTML for instance, is not passed on.
    """
    media_type = raw_type.partition(";")[0].strip().lower()
    media_type = _TYPE_ALIASES.get(media_type, media_type)
    return media_type if media_type in EXTENSIONS else UNKNOWN_TYPE


def tenant_folder(tenant: TenantRef) -> str:
    """Where all audio of a tenant is."""
    return tenant.id.hex


def storage_key(
    tenant: TenantRef, *, recording_id: UUID, created_at: datetime, content_type: str
) -> str:
    """Where a recording is; always the same, so that what is fetched twice is kept once."""
    file_name = f"{recording_id.hex}.{EXTENSIONS[content_type]}"
    return f"{tenant_folder(tenant)}/{created_at:%Y/%m}/{file_name}"


def possible_keys(
    tenant: TenantRef, *, recording_id: UUID, created_at: datetime
) -> Iterator[tuple[str, str]]:
    """(content type, key) of everywhere that a recording can be."""
    for content_type in EXTENSIONS:
        yield (
            content_type,
            storage_key(
                tenant, recording_id=recording_id, created_at=created_at, content_type=content_type
            ),
        )


def belongs_to_tenant(tenant: TenantRef, key: str) -> bool:
    """Whether a row's key is of this tenant's audio.

    Rows that were imported may say anything; another tenant's audio they must not reach.
    """
    return storage.in_folder(key, tenant_folder(tenant))
