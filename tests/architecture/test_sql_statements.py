"""The product sends no SQL that fails behind a transaction pooler or on a Citus cluster."""

import re

import pytest

from tests.support.ast_index import source_modules

# Statements whose effect outlives the transaction, with an example of each. Behind a pooler, the
# next client of the connection inherits the effect.
OUTLIVING_TRANSACTION = {
    r"(^|;)\s*set\s+(?!local\b)\w+(\.\w+)?\s*(=|to\b)": "BEGIN; SET statement_timeout = 0",
    r"(^|;)\s*set\s+session\b": "SET SESSION ROLE x",
    r"\bset_config\s*\((?!.*,\s*true\s*\))": "SELECT set_config('a.b', 'c', false)",
    r"\bpg_(try_)?advisory_(lock|unlock)": "SELECT pg_try_advisory_lock(1)",
    r"(^|;)\s*(un)?listen\s+\w+\s*(;|$)": "LISTEN jobs",
    r"(^|;)\s*(prepare|deallocate)\s+\w+": "PREPARE p AS SELECT 1",
    r"\bcreate\s+(local\s+)?temp(orary)?\s+table(?!.*\bon\s+commit\s+drop\b)": (
        "CREATE TEMP TABLE t (id uuid)"
    ),
    r"\bwith\s+hold\b": "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
}
# In a tenant's transaction, a cluster accepts statements on the tenant's tables and on reference
# tables only. It rejects other statements, or executes them on the wrong node.
REJECTED_BY_CLUSTER = {
    r"\bset_config\s*\(": "SELECT set_config('a.b', 'c', true)",
    r"(^|;)\s*set\s+local\b": "SET LOCAL a.b = 'c'",
    r"(^|;)\s*(create|alter|drop|truncate|lock)\s+(table|index|unique|trigger|view|function)": (
        "CREATE TABLE t (id uuid)"
    ),
    r"\bt_[0-9a-f]{8,}": 'SELECT * FROM "t_00000000000000000000000000000000".calls',
    r"\bpublic\.(?!tenants\b|dids\b)\w+\b(?!\s*\()": "SELECT * FROM public.api_keys",
}
# The transactions of this package use the ORM, and functions of the schemas `public` and `jobs`.
TENANT_PACKAGE = "vca/tenant/"


def _matching_strings(pattern: str, path_prefix: str) -> list[str]:
    regex = re.compile(pattern, re.IGNORECASE)
    return [
        f"{module.location_of(node)} {node.value!r}"
        for module in source_modules()
        if module.path.startswith(path_prefix)
        for node in module.strings()
        if isinstance(node.value, str) and regex.search(node.value)
    ]


@pytest.mark.parametrize("pattern", OUTLIVING_TRANSACTION)
def test_no_statement_has_an_effect_after_its_transaction(pattern: str) -> None:
    assert re.search(pattern, OUTLIVING_TRANSACTION[pattern], re.IGNORECASE)

    assert _matching_strings(pattern, "vca/") == []


@pytest.mark.parametrize("pattern", REJECTED_BY_CLUSTER)
def test_the_tenant_package_sends_no_statement_that_a_cluster_rejects(pattern: str) -> None:
    assert re.search(pattern, REJECTED_BY_CLUSTER[pattern], re.IGNORECASE)

    assert _matching_strings(pattern, TENANT_PACKAGE) == []


def test_statements_whose_effect_ends_with_the_transaction_are_allowed() -> None:
    allowed = (
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0",
        "SELECT pg_advisory_xact_lock(1)",
        "UPDATE t SET local = 1",
        "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1",
        "SELECT set_config('a.b', 'c', true)",
    )

    assert [
        text
        for text in allowed
        for pattern in OUTLIVING_TRANSACTION
        if re.search(pattern, text, re.IGNORECASE)
    ] == []
