"""HTTP route of `/tenants/{tenant_id}/calls/{call_id}/recording`."""

from typing import Any
from uuid import UUID

from flask import Response, g, request

from vca.audit import context
from vca.kit.web import Blueprint, access
from vca.services import current_services
from vca.tenancy.session import tenant_session
from vca.tenant.recordings import http_delivery, service
from vca.tenant.recordings.media import EXTENSIONS
from vca.tenant.recordings.schemas import RecordingQuery

blp = Blueprint("recordings", __name__, description="The audio of a tenant's calls and voicemail.")

URL = "/api/tenants/<uuid:tenant_id>/calls/<uuid:call_id>/recording"
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_AUDIO = dict.fromkeys(EXTENSIONS, _BYTES)
_RESPONSES = {
    "200": {"description": "The audio, with `ETag` and `Accept-Ranges`.", "content": _AUDIO},
    "206": {"description": "The requested byte range.", "content": _AUDIO},
    "302": {"description": "`Location` is a signed URL of the audio, valid for five minutes."},
    "304": {"description": "The audio still has the `ETag` of `If-None-Match`."},
    "404": {
        "description": "The recording does not exist (`not-found`), is not ready "
        "(`recording-not-ready`), or is not available (`recording-failed`, `recording-deleted`, "
        "`recording-missing`)."
    },
    "416": {"description": "The range is outside the audio. `Content-Range` has its size."},
}


@blp.route(URL, methods=["GET"])
@blp.arguments(RecordingQuery, location="query")
@blp.doc(responses=_RESPONSES)
@access("tenant", "content")
def get_recording(query: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Response:
    """Download a call recording

    A request may contain one byte range. A request for several ranges returns the whole recording.
    """
    with tenant_session(g.tenant, database=current_services().database) as session:
        context.require_entry(session)
        recording = service.get_stored(
            session, tenant=g.tenant, call_id=call_id, kind=query["kind"]
        )
    return http_delivery.respond(request, recording, current_services().store)
