"""Audio content types, and the storage keys of recordings."""

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
    """Return the content type under which audio is stored and served.

    Any other type that a carrier sends, for example HTML, becomes `application/octet-stream`.
    """
    media_type = raw_type.partition(";")[0].strip().lower()
    media_type = _TYPE_ALIASES.get(media_type, media_type)
    return media_type if media_type in EXTENSIONS else UNKNOWN_TYPE


def tenant_folder(tenant: TenantRef) -> str:
    """Return the storage folder of a tenant's audio."""
    return tenant.id.hex


def storage_key(
    tenant: TenantRef, *, recording_id: UUID, created_at: datetime, content_type: str
) -> str:
    """Return a recording's storage key.

    It is the same every time, so that audio that is fetched twice is stored once.
    """
    file_name = f"{recording_id.hex}.{EXTENSIONS[content_type]}"
    return f"{tenant_folder(tenant)}/{created_at:%Y/%m}/{file_name}"


def possible_keys(
    tenant: TenantRef, *, recording_id: UUID, created_at: datetime
) -> Iterator[tuple[str, str]]:
    """Yield (content type, key) for every place where a recording may be stored."""
    for content_type in EXTENSIONS:
        yield (
            content_type,
            storage_key(
                tenant, recording_id=recording_id, created_at=created_at, content_type=content_type
            ),
        )


def belongs_to_tenant(tenant: TenantRef, key: str) -> bool:
    """Return whether a storage key is in the tenant's own folder.

    Imported rows may contain any key and must not reach another tenant's audio.
    """
    return storage.in_folder(key, tenant_folder(tenant))
