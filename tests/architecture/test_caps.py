"""Every operation that may create something has a cap, or a reason why it has none."""

from typing import Any

from tests.support.ast_index import ROOT
from vca.registry.caps import CAPS, LIMIT_NAMES, UNCAPPED


def _post_operations(document: Any) -> dict[str, Any]:
    """Return the operations with POST of the document by their id."""
    operations = [methods["post"] for methods in document["paths"].values() if "post" in methods]
    return {operation["operationId"]: operation for operation in operations}


def test_every_post_operation_has_a_cap_or_a_reason(openapi_document: Any) -> None:
    capped = {name for cap in CAPS.values() for name in cap.operations}

    assert not capped & UNCAPPED.keys()
    assert capped | UNCAPPED.keys() == _post_operations(openapi_document).keys()


def test_the_readme_names_every_limit() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("### What each tenant may use")[2].partition("### What VCA dials")[0]

    assert [name for name in LIMIT_NAMES if f"`{name}`" not in table] == []


def test_every_reason_is_a_sentence() -> None:
    assert all(reason[0].isupper() or reason[0] == "`" for reason in UNCAPPED.values())
    assert all(reason.endswith(".") and len(reason) > 15 for reason in UNCAPPED.values())


def test_the_document_states_every_cap(openapi_document: Any) -> None:
    operations = _post_operations(openapi_document)
    for cap in CAPS.values():
        for name in cap.operations:
            description = operations[name]["description"]
            assert f"At most {cap.maximum:,} {cap.description}" in description
            assert f"`{cap.code or 'limit-reached'}`" in description
            assert "409" in operations[name]["responses"]


def test_the_problem_document_names_every_limit(openapi_document: Any) -> None:
    problem = openapi_document["components"]["schemas"]["Problem"]
    description = problem["properties"]["limit"]["description"]

    assert all(f"`{name}`" in description for name in LIMIT_NAMES)
