"""Order exports and erasures, tell how they are, and find an export's file."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit.errors import Conflict, DomainError
from vca.tenancy.schema import TenantRef
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.privacy import data_export, requests, text_search
from vca.tenant.privacy.data_subject import DataSubject
from vca.tenant.privacy.models import PrivacyRequest

# What an erasure cannot reach, and who can.
REMAINING_ELSEWHERE = (
    ("carriers", "The carriers' own records of these calls, under the carriers' own terms."),
    ("backups", "Backups and archives, until they expire; one that is restored is erased again."),
    ("model", "What was sent to the model's provider, under the provider's own terms."),
    ("mails", "Mails of messages that were sent already, with whoever got them."),
    ("webhooks", "What webhooks had delivered already: ids and how calls ended, not who called."),
    ("exports", "Exports that were fetched already, with whoever fetched them."),
)


class TenantOwnsNumber(Conflict):
    """The number is the tenant's own: to erase it would be to erase every call of everybody."""

    code = "own-number"

    def __init__(self) -> None:
        super().__init__("This is one of the tenant's own numbers, which is no caller's.")


class ExportUnavailable(DomainError):
    """The export has no file; the code says whether not yet or no more."""

    status = 404
    code = "export-not-ready"


@dataclass(frozen=True)
class ExportFile:
    """An export's file in the store."""

    request_id: UUID
    key: str
    size_bytes: int


def request_export(
    session: Session, *, tenant: TenantRef, number: str, now: datetime
) -> dict[str, Any]:
    """Have everything about a number written to one file."""
    export_request = requests.create_request(session, tenant, kind="export", number=number, now=now)
    return export_to_dict(export_request)


def request_erasure(
    session: Session, *, tenant: TenantRef, number: str, now: datetime
) -> dict[str, Any]:
    """Have everything about a number erased. Raises OwnNumber."""
    if session.scalar(select(PhoneNumber.id).where(PhoneNumber.did_number == number)) is not None:
        raise TenantOwnsNumber
    erasure_request = requests.create_request(
        session, tenant, kind="erasure", number=number, now=now
    )
    config_fields = text_search.find_in_configuration(session, DataSubject(number))
    requests.update_result(session, erasure_request.id, configured=config_fields)
    return erasure_to_dict(erasure_request)


def get_export(session: Session, *, export_id: UUID) -> dict[str, Any]:
    """An export as it is shown; raises NotFound."""
    return export_to_dict(requests.get(session, request_id=export_id, kind="export"))


def get_erasure(session: Session, *, erasure_id: UUID) -> dict[str, Any]:
    """An erasure as it is shown; raises NotFound."""
    return erasure_to_dict(requests.get(session, request_id=erasure_id, kind="erasure"))


def find_file(session: Session, *, tenant: TenantRef, export_id: UUID) -> ExportFile:
    """Where an export's file is. Raises NotFound and ExportNotThere."""
    row = requests.get(session, request_id=export_id, kind="export")
    if row.status == "expired":
        raise ExportUnavailable("The export was deleted.", code="export-deleted")
    if row.status != "done":
        raise ExportUnavailable("The export is not written yet.")
    return ExportFile(row.id, data_export.storage_key(tenant, row.id), row.result["size_bytes"])


def export_to_dict(row: PrivacyRequest) -> dict[str, Any]:
    """An export with what its file holds, once there is one."""
    expires_at = row.finished_at + data_export.RETENTION if row.finished_at is not None else None
    return {
        **_common_fields(row),
        "holds": row.result.get("holds"),
        "size_bytes": row.result.get("size_bytes"),
        "expires_at": expires_at,
    }


def erasure_to_dict(row: PrivacyRequest) -> dict[str, Any]:
    """An erasure with what was removed, and what remains where."""
    remains: list[dict[str, Any]] = [
        {"where": where, "detail": detail, "calls": [], "places": []}
        for where, detail in REMAINING_ELSEWHERE
    ]
    remains[0]["calls"] = row.result.get("at_carriers", [])
    config_fields = row.result.get("configured", [])
    if config_fields:
        detail = "The tenant's own configuration, which is its own to change; then erase again."
        configuration = {
            "where": "configuration",
            "detail": detail,
            "calls": [],
            "places": config_fields,
        }
        remains.append(configuration)
    for kept_until in row.result.get("copies", []):
        detail = f"A copy of the tenant's data from before an import; kept until {kept_until}."
        remains.append({"where": "replaced", "detail": detail, "calls": [], "places": []})
    return {**_common_fields(row), "removed": row.result.get("removed", {}), "remains": remains}


def _common_fields(row: PrivacyRequest) -> dict[str, Any]:
    names = ("id", "status", "created_at", "finished_at")
    return {name: getattr(row, name) for name in names}
