"""The tables themselves: their sizes, their test ids, and the document they are computed from."""

import json
import re

import pytest

from tests.generated.catalogue import all_operations, openapi_validator
from tests.generated.populated_database import PopulatedDatabase
from tests.generated.tables import TABLES, Table
from tests.support import payloads, request_payloads

_MIN_KINDS = 40
_MIN_ID_KINDS = 25
# Printable ASCII without brackets, quotes and backslashes, which a shell or pytest would interpret.
_ID = re.compile(r"[ !#-&(-Z^_a-~]+")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_table_is_not_smaller_than_before(table: Table) -> None:
    counts = table.count()

    print(counts)  # noqa: T201 # `pytest -s` shows the counts
    assert counts.cells >= table.min_cells


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_ids_are_unique_and_can_be_typed_in_a_shell(table: Table) -> None:
    ids = [cell.id for cell in table.build_cells()]

    assert len(set(ids)) == len(ids)
    assert [id_ for id_ in ids if not _ID.fullmatch(id_) or "::" in id_] == []


def test_there_are_enough_kinds_of_payloads() -> None:
    assert len(payloads.JSON) + len(payloads.UNREADABLE) >= _MIN_KINDS
    assert len(request_payloads.QUERY) + len(request_payloads.RAW_QUERY) >= _MIN_KINDS
    assert len(request_payloads.BODIES) >= _MIN_KINDS
    assert len(request_payloads.HEADERS) + len(request_payloads.AUTHORIZATIONS) >= _MIN_KINDS
    assert len(request_payloads.IDS) >= _MIN_ID_KINDS


def test_the_tables_are_computed_from_the_document_that_is_served(
    populated_database: PopulatedDatabase,
) -> None:
    client = populated_database.app.test_client()
    served_document = json.loads(client.get("/api/openapi.json").data)

    assert served_document == openapi_validator().document


def test_the_document_describes_all_routes(populated_database: PopulatedDatabase) -> None:
    routes = {
        (method, "".join(f"{{{part}}}" if is_dynamic else part for is_dynamic, part in rule._trace))
        for rule in populated_database.app.url_map.iter_rules()
        if not rule.endpoint.endswith(".static")
        for method in (rule.methods or set()) - {"HEAD"}
    }

    assert {(method, path.lstrip("|")) for method, path in routes} == {
        (operation.method, operation.path) for operation in all_operations()
    }
