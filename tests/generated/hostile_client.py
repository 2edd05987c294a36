"""A client that sends hostile requests and checks what every response must satisfy."""

from collections.abc import Mapping
from typing import Any, cast

from tests.generated import catalogue, response_checks
from tests.generated.populated_database import PopulatedDatabase
from tests.support.api import ApiResponse
from tests.support.operations import Operation, build_body
from tests.support.populated_tenant import body_values
from vca.kit import json


class HostileClient:
    """Sends requests as Acme, or with a platform key where an operation requires one.

    What it remembers between cells does not depend on them: every cell starts with the same rows.
    """

    def __init__(self, database: PopulatedDatabase) -> None:
        self.database = database
        self.acme = database.acme
        self._openapi = catalogue.openapi_validator()
        self._client = database.app.test_client(use_cookies=False)
        self._body_values = body_values(self.acme)
        self._valid_bodies: dict[Operation, dict[str, Any]] = {}
        self._unauthorized_text = ""
        self._plain_responses: dict[Operation, ApiResponse] = {}

    def key(self, operation: Operation) -> str | None:
        """Return a key that is allowed to use the operation."""
        if not operation.needs_key:
            return None
        is_tenant_path = operation.path.startswith("/api/tenants/{tenant_id}/")
        if (is_tenant_path or "/me" in operation.path) and not operation.platform_only:
            return self.acme.tenant.key
        return self.database.platform.key

    def url(self, operation: Operation, **ids: str) -> str:
        """Return a URL of the operation with Acme's ids, or the given ones."""
        acme_ids = {**self.acme.path_ids(operation.path), "provider": "fake", "action": "voice"}
        return operation.url({**acme_ids, **ids})

    def valid_body(self, operation: Operation) -> dict[str, Any]:
        """Return a body with a valid value in every field."""
        if operation not in self._valid_bodies:
            self._valid_bodies[operation] = build_body(operation, self._body_values)
        return self._valid_bodies[operation]

    def plain_response(self, operation: Operation) -> ApiResponse:
        """Return the response of a GET operation without a query or special headers."""
        if operation not in self._plain_responses:
            self._plain_responses[operation] = self.send(operation)
            self.database.restore()
        return self._plain_responses[operation]

    def unauthorized_text(self) -> str:
        """Return the body of a response to a request without a key, without its request id."""
        if not self._unauthorized_text:
            operation = next(
                candidate for candidate in catalogue.all_operations() if candidate.needs_key
            )
            response = self.send(operation, data=b"{}", headers={"Authorization": ""})
            self._unauthorized_text = response.text.replace(response.headers["X-Request-Id"], "")
        return self._unauthorized_text

    def send(
        self,
        operation: Operation,
        *,
        url: str | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        method: str | None = None,
        is_documented: bool = True,
    ) -> ApiResponse:
        """Send one request, check the response and what it left behind, and return it."""
        method = method or operation.method
        sent_headers = {}
        if operation.needs_key:
            sent_headers["Authorization"] = f"Bearer {self.key(operation)}"
        if data is not None:
            sent_headers["Content-Type"] = "application/json"
        self.database.expect_writes()
        response = cast(
            ApiResponse,
            self._client.open(
                url or self.url(operation),
                method=method,
                data=data,
                headers={**sent_headers, **(headers or {})},
                environ_overrides=dict(environ or {}),
            ),
        )
        if is_documented:
            self._openapi.check_response(method, operation.path, response)
        assert response_checks.response_faults(response) == []
        may_write = operation.is_audited or operation.method != "GET"
        if response.status_code >= 300 or not may_write:
            assert self.database.changes() == []
        return response

    def check_accepted(self, operation: Operation, data: bytes) -> None:
        """Fail if an accepted body is not what the document allows, or cannot be stored."""
        is_json, value = response_checks.parse_standard_json(data)
        assert is_json
        assert response_checks.is_storable(value)
        schema = operation.specification["requestBody"]["content"]["application/json"]["schema"]
        assert self._openapi.schema_errors(schema, value) == []

    def body_with_columns(self, operation: Operation, columns: tuple[str, ...]) -> bytes:
        """Return a valid body with these additional members, each with the tenant's id."""
        extra_members = dict.fromkeys(columns, self.acme.tenant.id)
        return json.dumps({**self.valid_body(operation), **extra_members})
