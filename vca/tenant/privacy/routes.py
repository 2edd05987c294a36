"""`T/privacy`."""

from typing import Any
from uuid import UUID

from flask import Response, g

from vca.audit import context
from vca.kit import clock, storage
from vca.kit.storage import ObjectNotFound, StorageError
from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.blueprint import accepted_response
from vca.kit.web.context import request_session
from vca.tenancy.session import tenant_session
from vca.tenant.privacy import data_export, service
from vca.tenant.privacy.schemas import ErasureSchema, ExportSchema, SubjectSchema
from vca.tenant.privacy.service import ExportUnavailable
from vca.tenant.recordings.service import StoreUnavailable

blp = Blueprint("privacy", __name__, description="What a tenant keeps of one person.")

URL = "/api/tenants/<uuid:tenant_id>/privacy"
LINK_VALID_S = 300
_FILE = {
    "200": {
        "description": "A zip: `export.json`, `messages.json`, `mentions.json`, a document for each"
        " call in `calls/`, and `audio/`.",
        "content": {data_export.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
    "302": {"description": "`Location` is a signed URL of the file, good for five minutes."},
    "404": {
        "description": "No export (`not-found`), not yet (`export-not-ready`), or no more "
        "(`export-deleted`)."
    },
}


@blp.route(f"{URL}/export", methods=["POST"])
@blp.arguments(SubjectSchema)
@blp.response(202, ExportSchema)
@access("tenant", "admin", transaction="tenant", when_suspended=True, idempotency="answer")
def export_person(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Export what is kept of a caller

    Everything about the number as one file: calls with their turns, events, notes and audio,
    messages, what was told of them, and the places where others' calls mention it. It is written by
    a job; `Location` tells when it can be fetched. It is deleted after a day.
    """
    export = service.request_export(request_session(), tenant=g.tenant, now=clock.now(), **body)
    path = f"/api/tenants/{tenant_id}/privacy/exports/{export['id']}"
    return accepted_response(export, pagination.public_url(path))


@blp.route(f"{URL}/exports/<uuid:export_id>", methods=["GET"])
@blp.response(200, ExportSchema)
@access("tenant", "admin", transaction="tenant")
def get_export(tenant_id: UUID, export_id: UUID) -> Any:
    """Show how an export is"""
    return service.get_export(request_session(), export_id=export_id)


@blp.route(f"{URL}/exports/<uuid:export_id>/file", methods=["GET"])
@blp.doc(responses=_FILE)
@access("tenant", "admin", additional_scope="content")
def get_export_file(tenant_id: UUID, export_id: UUID) -> Response:
    """Fetch an export's file"""
    with tenant_session(g.tenant) as tenant_tx:
        file = service.find_file(tenant_tx, tenant=g.tenant, export_id=export_id)
        context.require_entry(tenant_tx)
    store = storage.current_store()
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
        raise StoreUnavailable("The store of exports is away.", retry_after_s=10) from error
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
    """Erase what is kept of a caller

    The number is taken out of every text and column; what was said in their calls, left, recorded,
    noted and told goes. That there were calls stays, with times, length, end and cost. A call that
    goes on is erased once it has ended. It is done by a job; `Location` tells what was removed and
    what remains elsewhere, also where the tenant's own configuration names the number. One of the
    tenant's own numbers is refused: `own-number`.
    """
    erasure = service.request_erasure(request_session(), tenant=g.tenant, now=clock.now(), **body)
    path = f"/api/tenants/{tenant_id}/privacy/erasures/{erasure['id']}"
    return accepted_response(erasure, pagination.public_url(path))


@blp.route(f"{URL}/erasures/<uuid:erasure_id>", methods=["GET"])
@blp.response(200, ErasureSchema)
@access("tenant", "admin", transaction="tenant")
def get_erasure(tenant_id: UUID, erasure_id: UUID) -> Any:
    """Show what an erasure has removed, and what remains elsewhere"""
    return service.get_erasure(request_session(), erasure_id=erasure_id)
