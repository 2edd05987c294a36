"""Request exports and erasures, read their status, and find an export's file."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit.errors import Conflict, DomainError
from vca.registry import caps
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenant.phone_numbers import number_samples
from vca.tenant.privacy import data_export, requests, text_search
from vca.tenant.privacy.data_subject import MIN_ISOLATED_DIGITS, DataSubject
from vca.tenant.privacy.models import IS_UNFINISHED, PrivacyRequest

# What an erasure cannot reach: (place, detail).
REMAINING_ELSEWHERE = (
    ("carriers", "The carriers' own records of these calls, subject to the carriers' terms."),
    ("backups", "Backups and archives until they expire. The erasure is repeated on a restore."),
    ("model", "Data that was sent to the model's provider, subject to the provider's terms."),
    ("mails", "E-mails about messages that were already sent, at their recipients."),
    ("webhooks", "Delivered webhook events: ids and how calls ended, not who called."),
    ("exports", "Exports that were already downloaded, at their recipients."),
)


class TenantOwnsNumber(Conflict):
    """The number is the tenant's own; erasing it would erase every call of every caller."""

    code = "own-number"

    def __init__(self) -> None:
        super().__init__(
            "This number belongs to the tenant. Exports and erasures apply to callers only."
        )


class ExportUnavailable(DomainError):
    """The export has no file; the code says whether it is not ready or was deleted."""

    status = 404
    code = "export-not-ready"


@dataclass(frozen=True)
class ExportFile:
    """An export's file in the object storage."""

    request_id: UUID
    key: str
    size_bytes: int


def request_export(
    session: Session, *, services: Services, tenant: TenantRef, number: str, now: datetime
) -> dict[str, Any]:
    """Create an export of all data of a number; return it as the API shows it.

    Raise LimitReached.
    """
    rows = select(PrivacyRequest.id).where(PrivacyRequest.kind == "export")
    caps.require_capacity(session, "exports", rows.where(IS_UNFINISHED))
    caps.require_capacity(session, "stored_exports", rows.where(PrivacyRequest.status == "done"))
    export_request = requests.create_request(
        session, tenant, kind="export", number=number, now=now, services=services
    )
    return export_to_dict(export_request)


def request_erasure(
    session: Session, *, services: Services, tenant: TenantRef, number: str, now: datetime
) -> dict[str, Any]:
    """Create an erasure of all data of a number; return it as the API shows it.

    Raise TenantOwnsNumber and LimitReached.
    """
    rows = select(PrivacyRequest.id).where(PrivacyRequest.kind == "erasure")
    caps.require_capacity(session, "erasures", rows.where(IS_UNFINISHED))
    subject = DataSubject(number)
    if number_samples.has_any(session, subject.numbers):
        raise TenantOwnsNumber
    erasure_request = requests.create_request(
        session, tenant, kind="erasure", number=number, now=now, services=services
    )
    config_fields = text_search.find_in_configuration(session, subject, services=services)
    requests.update_result(session, erasure_request.id, configured=config_fields)
    return erasure_to_dict(erasure_request)


def get_export(session: Session, *, export_id: UUID) -> dict[str, Any]:
    """Return an export as the API shows it. Raise NotFound."""
    return export_to_dict(requests.get(session, request_id=export_id, kind="export"))


def get_erasure(session: Session, *, erasure_id: UUID) -> dict[str, Any]:
    """Return an erasure as the API shows it. Raise NotFound."""
    return erasure_to_dict(requests.get(session, request_id=erasure_id, kind="erasure"))


def find_file(session: Session, *, tenant: TenantRef, export_id: UUID) -> ExportFile:
    """Return the export's file. Raise NotFound and ExportUnavailable."""
    row = requests.get(session, request_id=export_id, kind="export")
    if row.status == "expired":
        raise ExportUnavailable("The export was deleted.", code="export-deleted")
    if row.status != "done":
        raise ExportUnavailable("The export is not ready yet.")
    return ExportFile(row.id, data_export.storage_key(tenant, row.id), row.result["size_bytes"])


def export_to_dict(row: PrivacyRequest) -> dict[str, Any]:
    """Return an export with the counts of its file, once there is one."""
    expires_at = row.finished_at + data_export.RETENTION if row.finished_at is not None else None
    return {
        **_common_fields(row),
        "holds": row.result.get("holds"),
        "size_bytes": row.result.get("size_bytes"),
        "expires_at": expires_at,
    }


def erasure_to_dict(row: PrivacyRequest) -> dict[str, Any]:
    """Return an erasure with what was removed and what remains elsewhere."""
    remains: list[dict[str, Any]] = [
        {"where": where, "detail": detail, "calls": [], "places": []}
        for where, detail in REMAINING_ELSEWHERE
    ]
    remains[0]["calls"] = row.result.get("at_carriers", [])
    config_fields = row.result.get("configured", [])
    if config_fields:
        detail = "The tenant's configuration. Change it, then request the erasure again."
        configuration = {
            "where": "configuration",
            "detail": detail,
            "calls": [],
            "places": config_fields,
        }
        remains.append(configuration)
    for expires_at in row.result.get("copies", []):
        detail = f"A backup of the tenant's data from before an import, kept until {expires_at}."
        remains.append({"where": "replaced", "detail": detail, "calls": [], "places": []})
    remains += [
        {"where": where, "detail": detail, "calls": [], "places": []}
        for where, detail in _unread_spellings(row.result)
    ]
    return {**_common_fields(row), "removed": row.result.get("removed", {}), "remains": remains}


def _unread_spellings(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the spellings of the number that the search could not read, as (where, detail)."""
    languages = result.get("unread_languages", [])
    if languages:
        detail = "Numbers that were said in words, not digits, in languages of AI profiles: "
        yield "languages", f"{detail}{', '.join(languages)}."
    if result.get("is_short_number"):
        yield (
            "short_number",
            f"The number without its country code: fewer than {MIN_ISOLATED_DIGITS} digits "
            "would match other numbers.",
        )


def _common_fields(row: PrivacyRequest) -> dict[str, Any]:
    names = ("id", "status", "created_at", "finished_at")
    return {name: getattr(row, name) for name in names}
