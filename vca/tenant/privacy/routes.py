"""HTTP routes of `/tenants/{tenant_id}/privacy`."""

from typing import Any
from uuid import UUID

from flask import Response, g

from vca.audit import context
from vca.kit import clock
from vca.kit.storage import ObjectNotFound, StorageError
from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.blueprint import accepted_response
from vca.kit.web.context import request_session
from vca.services import current_services
from vca.tenancy.session import tenant_session
from vca.tenant.privacy import data_export, service
from vca.tenant.privacy.schemas import ErasureSchema, ExportSchema, SubjectSchema
from vca.tenant.privacy.service import ExportUnavailable
from vca.tenant.recordings.service import StoreUnavailable

blp = Blueprint("privacy", __name__, description="Export or erase the personal data of a caller.")

URL = "/api/tenants/<uuid:tenant_id>/privacy"
LINK_VALID_S = 300
_FILE = {
    "200": {
        "description": "A zip with `export.json`, `messages.json`, `mentions.json`, one document "
        "per call in `calls/`, and the recordings in `audio/`.",
        "content": {data_export.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
    "302": {"description": "`Location` is a signed URL of the file, valid for five minutes."},
    "404": {
        "description": "The export does not exist (`not-found`), is not ready "
        "(`export-not-ready`), or was deleted (`export-deleted`)."
    },
}


@blp.route(f"{URL}/export", methods=["POST"])
@blp.arguments(SubjectSchema)
@blp.response(202, ExportSchema)
@access("tenant", "admin", transaction="tenant", when_suspended=True, idempotency="answer")
def export_person(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create an export

    Exports all data of a telephone number as one file: calls with their turns, events, extracted
    data and audio, messages, webhook payloads, and the places where calls of other people mention
    the number. The file is written in the background; `Location` is the URL of the export's status.
    The file is deleted after a day.
    """
    export = service.request_export(
        request_session(), tenant=g.tenant, now=clock.now(), **body, services=current_services()
    )
    path = f"/api/tenants/{tenant_id}/privacy/exports/{export['id']}"
    return accepted_response(export, pagination.public_url(path))


@blp.route(f"{URL}/exports/<uuid:export_id>", methods=["GET"])
@blp.response(200, ExportSchema)
@access("tenant", "admin", transaction="tenant")
def get_export(tenant_id: UUID, export_id: UUID) -> Any:
    """Get export status"""
    return service.get_export(request_session(), export_id=export_id)


@blp.route(f"{URL}/exports/<uuid:export_id>/file", methods=["GET"])
@blp.doc(responses=_FILE)
@access("tenant", "admin", additional_scope="content")
def get_export_file(tenant_id: UUID, export_id: UUID) -> Response:
    """Download an export"""
    with tenant_session(g.tenant, database=current_services().database) as tenant_tx:
        file = service.find_file(tenant_tx, tenant=g.tenant, export_id=export_id)
        context.require_entry(tenant_tx)
    store = current_services().store
    try:
        link = store.presigned_url(
            file.key, content_type=data_export.CONTENT_TYPE, valid_s=LINK_VALID_S
        )
        if link is not None:
            return Response(status=302, headers={"Location": link})
        content = store.open(file.key)
    except ObjectNotFound as error:
        raise ExportUnavailable("The export was deleted.", code="export-deleted") from error
    except StorageError as error:
        raise StoreUnavailable(
            "The storage of exports cannot be reached.", retry_after_s=10
        ) from error
    headers = {
        "Content-Disposition": f'attachment; filename="{file.request_id}.zip"',
        "Content-Length": str(file.size_bytes),
    }
    return Response(content, headers=headers, content_type=data_export.CONTENT_TYPE)


@blp.route(f"{URL}/erase", methods=["POST"])
@blp.arguments(SubjectSchema)
@blp.response(202, ErasureSchema)
@access("tenant", "admin", transaction="tenant", when_suspended=True, idempotency="answer")
def erase_person(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create an erasure

    Removes a telephone number from every text and column, and deletes the transcripts, messages,
    recordings, extracted data and webhook payloads of the person's calls. The calls themselves stay
    with their times, duration, end reason and cost. A live call is erased once it has ended.

    The erasure runs in the background; `Location` is the URL of its status, which lists what was
    removed and what remains elsewhere, including mentions of the number in the tenant's own
    configuration. The tenant's own numbers are rejected with `own-number`.
    """
    erasure = service.request_erasure(
        request_session(), tenant=g.tenant, now=clock.now(), **body, services=current_services()
    )
    path = f"/api/tenants/{tenant_id}/privacy/erasures/{erasure['id']}"
    return accepted_response(erasure, pagination.public_url(path))


@blp.route(f"{URL}/erasures/<uuid:erasure_id>", methods=["GET"])
@blp.response(200, ErasureSchema)
@access("tenant", "admin", transaction="tenant")
def get_erasure(tenant_id: UUID, erasure_id: UUID) -> Any:
    """Get erasure status"""
    return service.get_erasure(request_session(), erasure_id=erasure_id)
