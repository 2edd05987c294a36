"""`T/privacy`."""

from typing import Any
from uuid import UUID

from flask import Response, g

from vca.kit import clock, deeds, storage
from vca.kit.storage import Missing, StorageError
from vca.kit.web import Blueprint, access, pages
from vca.kit.web.blueprint import accepted
from vca.kit.web.context import session
from vca.tenancy.session import enter
from vca.tenant.privacy import exporting, service
from vca.tenant.privacy.schemas import ErasureSchema, ExportSchema, SubjectSchema
from vca.tenant.privacy.service import ExportNotThere
from vca.tenant.recordings.service import StoreAway

blp = Blueprint("privacy", __name__, description="What a tenant keeps of one person.")

URL = "/api/tenants/<uuid:tenant_id>/privacy"
LINK_VALID_S = 300
_FILE = {
    "200": {
        "description": "A zip: `export.json`, `messages.json`, `mentions.json`, a document for each"
        " call in `calls/`, and `audio/`.",
        "content": {exporting.TYPE: {"schema": {"type": "string", "format": "binary"}}},
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
@access("tenant", "admin", opens="tenant", when_suspended=True, repeats="answer")
def export_person(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Export what is kept of a caller

    Everything about the number as one file: calls with their turns, events, notes and audio,
    messages, what was told of them, and the places where others' calls mention it. It is written by
    a job; `Location` tells when it can be fetched. It is deleted after a day.
    """
    placed = service.order_export(session(), tenant=g.tenant, now=clock.now(), **body)
    path = f"/api/tenants/{tenant_id}/privacy/exports/{placed['id']}"
    return accepted(placed, pages.public_path(path))


@blp.route(f"{URL}/exports/<uuid:export_id>", methods=["GET"])
@blp.response(200, ExportSchema)
@access("tenant", "admin", opens="tenant")
def get_export(tenant_id: UUID, export_id: UUID) -> Any:
    """Show how an export is"""
    return service.get_export(session(), export_id=export_id)


@blp.route(f"{URL}/exports/<uuid:export_id>/file", methods=["GET"])
@blp.doc(responses=_FILE)
@access("tenant", "admin", also="content")
def get_export_file(tenant_id: UUID, export_id: UUID) -> Response:
    """Fetch an export's file"""
    with enter(g.tenant) as opened:
        file = service.find_file(opened, tenant=g.tenant, export_id=export_id)
        deeds.expect(opened)
    store = storage.current()
    try:
        link = store.link(file.key, content_type=exporting.TYPE, valid_s=LINK_VALID_S)
        if link is not None:
            return Response(status=302, headers={"Location": link})
        content = store.open(file.key)
    except Missing as error:
        raise ExportNotThere("The export was deleted.", code="export-deleted") from error
    except StorageError as error:
        raise StoreAway("The store of exports is away.", retry_after_s=10) from error
    headers = {
        "Content-Disposition": f'attachment; filename="{file.request_id}.zip"',
        "Content-Length": str(file.size_bytes),
    }
    return Response(content, headers=headers, content_type=exporting.TYPE)


@blp.route(f"{URL}/erase", methods=["POST"])
@blp.arguments(SubjectSchema)
@blp.response(202, ErasureSchema)
@access("tenant", "admin", opens="tenant", when_suspended=True, repeats="answer")
def erase_person(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Erase what is kept of a caller

    The number is taken out of every text and column; what was said in their calls, left, recorded,
    noted and told goes. That there were calls stays, with times, length, end and cost. A call that
    goes on is erased once it has ended. It is done by a job; `Location` tells what was removed and
    what remains elsewhere, also where the tenant's own configuration names the number. One of the
    tenant's own numbers is refused: `own-number`.
    """
    placed = service.order_erasure(session(), tenant=g.tenant, now=clock.now(), **body)
    path = f"/api/tenants/{tenant_id}/privacy/erasures/{placed['id']}"
    return accepted(placed, pages.public_path(path))


@blp.route(f"{URL}/erasures/<uuid:erasure_id>", methods=["GET"])
@blp.response(200, ErasureSchema)
@access("tenant", "admin", opens="tenant")
def get_erasure(tenant_id: UUID, erasure_id: UUID) -> Any:
    """Show what an erasure has removed, and what remains elsewhere"""
    return service.get_erasure(session(), erasure_id=erasure_id)
