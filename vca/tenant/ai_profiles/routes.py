"""HTTP routes of `/tenants/{tenant_id}/ai-profiles`."""

from typing import Any
from uuid import UUID

from flask import Response, after_this_request

from vca.kit.paging import Page
from vca.kit.web import Blueprint, PageQuery, access, created_response, pagination
from vca.kit.web.context import request_reader, request_session
from vca.services import current_services
from vca.tenant.ai_profiles import service
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.ai_profiles.schemas import (
    AiProfileQuery,
    AiProfileSchema,
    AiProfileVersionSchema,
    NewAiProfileSchema,
)

blp = Blueprint(
    "ai profiles", __name__, description="Instructions, limits and tools of a tenant's AI agents."
)

URL = "/api/tenants/<uuid:tenant_id>/ai-profiles"
WARNING_HEADER = "X-Vca-Warning"
PROFILE_URL = f"{URL}/<uuid:ai_profile_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewAiProfileSchema)
@blp.response(201, AiProfileSchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def create_profile(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create an AI profile

    The tenant's first profile becomes its default profile. Returns 409 `carrier-cannot` for a
    language or a voice that no configured carrier has, with the possible values in `possible`, and
    for a feature that the carrier of one of the profile's numbers does not support. The response
    has the header `X-Vca-Warning` if the profile has tools but its model does not support them.
    """
    profile = service.create(request_session(), **body, services=current_services())
    _warn_about_tools(profile)
    path = f"/api/tenants/{tenant_id}/ai-profiles/{profile.id}"
    return created_response(profile, pagination.public_url(path))


@blp.route(URL, methods=["GET"])
@blp.arguments(AiProfileQuery, location="query")
@blp.response(200, AiProfileSchema(many=True))
@access("tenant", "read", transaction="tenant_read")
def list_profiles(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List AI profiles

    Profiles are sorted by creation time, oldest first.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_reader(), page=page, **query), query)


@blp.route(PROFILE_URL, methods=["GET"])
@blp.response(200, AiProfileSchema)
@access("tenant", "read", transaction="tenant")
def get_profile(tenant_id: UUID, ai_profile_id: UUID) -> Any:
    """Get an AI profile"""
    return service.get(request_session(), ai_profile_id=ai_profile_id)


@blp.route(PROFILE_URL, methods=["PATCH"])
@blp.arguments(AiProfileSchema)
@blp.response(200, AiProfileSchema)
@access("tenant", "write", transaction="tenant")
def change_profile(body: dict[str, Any], tenant_id: UUID, ai_profile_id: UUID) -> Any:
    """Update an AI profile

    Every change of the profile's content creates a new version. A call in progress keeps the
    version that answered it. Making a profile the default removes the flag from the previous
    default. A change that the carrier of a number with this profile does not support, such as
    another language, is refused with `carrier-cannot`. The response has the header `X-Vca-Warning`
    if the profile has tools but its model does not support them.
    """
    profile = service.change(
        request_session(), ai_profile_id=ai_profile_id, **body, services=current_services()
    )
    _warn_about_tools(profile)
    return profile


def _warn_about_tools(profile: AiProfile) -> None:
    """Add a header to the response if the profile's model is known not to support its tools."""
    if not profile.tools or current_services().models.supports_tools(profile.model):
        return

    @after_this_request
    def add_header(response: Response) -> Response:
        response.headers[WARNING_HEADER] = (
            "The model of this profile does not support tools, so the agent cannot use them."
        )
        return response


@blp.route(PROFILE_URL, methods=["DELETE"])
@blp.response(204)
@access("tenant", "write", transaction="tenant")
def delete_profile(tenant_id: UUID, ai_profile_id: UUID) -> None:
    """Delete an AI profile"""
    service.delete(request_session(), ai_profile_id=ai_profile_id, services=current_services())


@blp.route(f"{PROFILE_URL}/versions", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, AiProfileVersionSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_versions(query: dict[str, Any], tenant_id: UUID, ai_profile_id: UUID) -> Any:
    """List AI profile versions

    Versions are sorted from newest to oldest.
    """
    page = pagination.parse_page_request(query)
    version_page = service.list_versions(request_session(), ai_profile_id=ai_profile_id, page=page)
    response_page = Page(
        [service.version_to_dict(version) for version in version_page.items],
        version_page.next_after,
    )
    return pagination.page_response(response_page, query)
