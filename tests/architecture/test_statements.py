"""What our SQL never does, because a pooler between transactions or a cluster would break it."""

import re

import pytest

from tests.support.ast_index import source_modules

# What outlives its transaction belongs, behind a pooler, to whoever comes next. With an example.
OUTLIVES = {
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
# In a tenant's transaction a cluster takes statements on the tenant's tables and on reference
# tables; the rest it refuses, or does on another node than is meant.
REFUSED_IN_A_TENANT = {
    r"\bset_config\s*\(": "SELECT set_config('a.b', 'c', true)",
    r"(^|;)\s*set\s+local\b": "SET LOCAL a.b = 'c'",
    r"(^|;)\s*(create|alter|drop|truncate|lock)\s+(table|index|unique|trigger|view|function)": (
        "CREATE TABLE t (id uuid)"
    ),
    r"\bt_[0-9a-f]{8,}": 'SELECT * FROM "t_00000000000000000000000000000000".calls',
    r"\bpublic\.(?!tenants\b|dids\b)\w+\b(?!\s*\()": "SELECT * FROM public.api_keys",
}
# A tenant's own rooms. Their transactions use the ORM, and functions of `public` and `jobs`.
TENANT = "vca/tenant/"


def _said(pattern: str, below: str) -> list[str]:
    found = re.compile(pattern, re.IGNORECASE)
    return [
        f"{module.location_of(node)} {node.value!r}"
        for module in source_modules()
        if module.path.startswith(below)
        for node in module.strings()
        if isinstance(node.value, str) and found.search(node.value)
    ]


@pytest.mark.parametrize("pattern", OUTLIVES)
def test_nothing_is_said_to_a_connection_that_outlives_its_transaction(pattern: str) -> None:
    assert re.search(pattern, OUTLIVES[pattern], re.IGNORECASE)

    assert _said(pattern, "vca/") == []


@pytest.mark.parametrize("pattern", REFUSED_IN_A_TENANT)
def test_a_tenants_rooms_say_nothing_that_a_cluster_refuses(pattern: str) -> None:
    assert re.search(pattern, REFUSED_IN_A_TENANT[pattern], re.IGNORECASE)

    assert _said(pattern, TENANT) == []


def test_what_ends_with_its_transaction_is_allowed() -> None:
    fine = (
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0",
        "SELECT pg_advisory_xact_lock(1)",
        "UPDATE t SET local = 1",
        "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1",
        "SELECT set_config('a.b', 'c', true)",
    )

    assert [text for text in fine for p in OUTLIVES if re.search(p, text, re.IGNORECASE)] == []
