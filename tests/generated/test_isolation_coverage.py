"""The isolation matrix has every place of the document, and its tenants have every kind of row."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from tests.generated import isolation_cells, tables
from tests.generated.catalogue import all_operations, openapi_validator
from tests.generated.isolation_cells import OPERATIONS_WITHOUT_KEY
from tests.generated.populated_database import PopulatedDatabase
from tests.support.api import ApiResponse
from tests.support.factories import Platform
from tests.support.populated_tenant import RESOURCE_IDS, PopulatedTenant

# Columns without a text that the tenant wrote: closed vocabularies, numbers, times, references.
_COLUMNS_WITHOUT_MARKER = {
    "ai_profiles": {"language", "model", "redaction", "role", "tools"},
    "audit_entries": {
        "actor",
        "changes",
        "key_prefix",
        "object_type",
        "operation",
        "request_id",
    },
    "call_events": {"event_type"},
    "calls": {
        "analysis_reason",
        "analysis_status",
        "call_metadata",
        "called_number",
        "caller_id",
        "caller_number",
        "direction",
        "end_reason",
        "latency",
        "provider_type",
        "route",
        "status",
    },
    "events": {"type"},
    "idempotency_keys": {"headers"},
    "messages": {"kind", "mail_status", "status"},
    "outbound_legs": {"kind"},
    "phone_numbers": {
        "did_number",
        "fallback_number",
        "mode",
        "provider_type",
        "registration_status",
    },
    "privacy_requests": {"kind", "number_hash", "status"},
    "recordings": {
        "carrier_copy",
        "content_type",
        "kind",
        "provider_type",
        "sha256",
        "status",
        "storage_key",
    },
    "settings": {"dial_policy", "home_country", "limits", "retention_days", "time_zone"},
    "telephony_accounts": {"provider_type"},
    "turns": {"actions", "latency_ms", "refused_tools", "speaker", "tokens"},
    "usage_facts": {"key", "kind", "leg", "plan"},
    "webhook_deliveries": {"status", "type"},
    "webhooks": {"events"},
}


def test_every_operation_and_every_place_of_the_document_is_in_the_matrix() -> None:
    expected_places = set(_places(openapi_validator().document))
    matrix = [table for table in tables.TABLES if table.name.startswith("isolation: ")]

    cells = [cell for table in matrix for cell in table.build_cells()]

    places = {(cell.operation.name, cell.place) for cell in cells}
    assert sorted(expected_places - places) == []
    expected_names = {name for name, _ in expected_places} | set(OPERATIONS_WITHOUT_KEY)
    assert expected_names == {operation.name for operation in all_operations()}
    assert set(OPERATIONS_WITHOUT_KEY) == {
        operation.name for operation in all_operations() if not operation.needs_key
    }


def test_the_tenants_have_an_id_for_every_path_parameter(
    populated_acme: PopulatedTenant, populated_globex: PopulatedTenant
) -> None:
    assert set(populated_acme.ids) == set(populated_globex.ids) == set(RESOURCE_IDS)
    path_names = {name for cell in isolation_cells.path_cells() for name, _ in cell.ids}
    assert path_names <= set(RESOURCE_IDS)


def test_every_text_that_globex_stores_contains_its_marker(
    populated_globex: PopulatedTenant, populated_database: PopulatedDatabase
) -> None:
    checker = populated_database.checker
    texts = checker.texts(populated_globex.tenant.id)

    columns_without_marker = {
        (table, column)
        for (table, column), values in texts.items()
        if values and populated_globex.marker not in str(values)
    }

    assert columns_without_marker <= {
        (table, column) for table, columns in _COLUMNS_WITHOUT_MARKER.items() for column in columns
    }
    schema = populated_globex.tenant.ref.schema
    empty_tables = {
        table
        for table in checker.tables(populated_globex.tenant.id)
        if not checker.rows(f'SELECT 1 FROM "{schema}"."{table}" LIMIT 1')
    }
    assert not empty_tables


def test_every_change_of_globex_is_noticed(
    populated_globex: PopulatedTenant, platform: Platform, populated_database: PopulatedDatabase
) -> None:
    tenant, ids = populated_globex.tenant, populated_globex.ids
    changes: list[Callable[[], ApiResponse]] = [
        lambda: tenant.patch("/settings", {"time_zone": "Europe/Paris"}),
        lambda: tenant.patch(f"/phone-numbers/{ids['phone_number_id']}", {"label": "x"}),
        lambda: tenant.post(f"/calls/{ids['call_id']}/hangup"),
        lambda: tenant.delete(f"/api-keys/{ids['key_id']}"),
        lambda: platform.api.patch(tenant.url(), {"plan": "growth"}),
    ]
    checksums = [populated_database.checker.checksum(tenant.id)]

    for change in changes:
        assert change().status_code < 300
        assert populated_database.globex_changes(populated_database.changes())
        checksums.append(populated_database.checker.checksum(tenant.id))

    assert all(before != after for before, after in pairwise(checksums))


def test_the_database_is_restored_after_every_kind_of_write(
    populated_acme: PopulatedTenant, platform: Platform, populated_database: PopulatedDatabase
) -> None:
    acme, ids = populated_acme.tenant, populated_acme.ids
    before = populated_database.checksums()
    writes: list[Callable[[], ApiResponse]] = [
        lambda: acme.patch("/settings", {"time_zone": "Europe/Paris"}),
        lambda: acme.post("/ai-profiles", {"system_prompt": "x", "is_default": True}),
        lambda: acme.delete(f"/webhooks/{ids['webhook_id']}"),
        lambda: acme.delete(f"/phone-numbers/{ids['phone_number_id']}"),
        lambda: acme.delete(f"/api-keys/{ids['key_id']}"),
        lambda: platform.api.patch(acme.url(), {"plan": "growth"}),
        lambda: platform.api.post("/api/tenants", {"name": "Initech"}),
    ]

    for write in writes:
        populated_database.expect_writes()
        assert write().status_code < 300
        assert populated_database.changes()
        populated_database.restore()
        assert populated_database.changes() == []
        assert populated_database.checksums() == before


def _places(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (operation, place) of a document, without the code that the matrix is built with."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = f"{method.upper()} {path}"
            if method == "parameters" or name in OPERATIONS_WITHOUT_KEY:
                continue
            yield name, "X-Tenant-Id" if method == "get" else "key"
            for step in path.split("/"):
                if step.startswith("{"):
                    yield name, step
            for parameter in operation.get("parameters", ()):
                prefix = "?" if parameter["in"] == "query" else ""
                yield name, f"{prefix}{parameter['name']}"
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for pointer in _pointers(document, content["schema"], ""):
                    yield name, pointer


def _pointers(
    document: dict[str, Any], schema: dict[str, Any], parent_pointer: str
) -> Iterator[str]:
    parts = [schema, *schema.get("allOf", ()), *schema.get("oneOf", ())]
    for reference in (part.get("$ref") for part in parts):
        if reference:
            target = document["components"]["schemas"][reference.rpartition("/")[2]]
            yield from _pointers(document, target, parent_pointer)
    for name, part in schema.get("properties", {}).items():
        if not part.get("readOnly"):
            yield f"{parent_pointer}/{name}"
            yield from _pointers(document, part, f"{parent_pointer}/{name}")
    if "items" in schema:
        yield f"{parent_pointer}/0"
        yield from _pointers(document, schema["items"], f"{parent_pointer}/0")
