"""Only the session module selects a tenant; only it and the API layer commit."""

import re
from collections.abc import Callable

import pytest

from tests.support.ast_index import source_modules

SESSION_MODULE = "vca/tenancy/session.py"
API_LAYER = "vca/api/"
MIGRATIONS = ("migrations/", "tenant_migrations/")
# The worker's queue has separate connections, which never enter a tenant's schema. Their search
# path is the queue's schema from the start.
QUEUE_MODULE = "vca/jobs/worker_loop.py"


def _matching_strings(pattern: str) -> list[tuple[str, str]]:
    regex = re.compile(pattern, re.IGNORECASE)
    return [
        (module.path, f"{module.location_of(node)} {node.value!r}")
        for module in source_modules()
        for node in module.strings()
        if isinstance(node.value, str) and regex.search(node.value)
    ]


def _outside(matches: list[tuple[str, str]], *allowed: str) -> list[str]:
    return [location for path, location in matches if not path.startswith(allowed)]


def test_only_the_session_module_migrations_and_queue_set_the_search_path() -> None:
    matches = _matching_strings(r"search_path")

    assert _outside(matches, SESSION_MODULE, QUEUE_MODULE, *MIGRATIONS) == []
    assert {SESSION_MODULE, QUEUE_MODULE} <= {path for path, _ in matches}


def test_the_connections_of_the_queue_use_the_schema_of_the_queue() -> None:
    [location] = [
        location for path, location in _matching_strings(r"search_path") if path == QUEUE_MODULE
    ]

    assert "search_path=jobs " in location


@pytest.mark.parametrize("pattern", [r"\bset\s+(local\s+|session\s+)?role\b", r"set_config.*role"])
def test_only_the_session_module_and_the_api_layer_set_roles(pattern: str) -> None:
    assert _outside(_matching_strings(pattern), SESSION_MODULE, API_LAYER) == []


def test_only_the_session_module_sets_the_tenant_of_a_transaction() -> None:
    assert _outside(_matching_strings(r"set\b.*\bvca\.tenant_id\s*="), SESSION_MODULE) == []
    assert _matching_strings(r"set\b.*\bvca\.tenant_id\s*=")


def _calls_to(is_target: Callable[[str], bool]) -> list[tuple[str, str]]:
    return [
        (module.path, f"{module.location_of(node)} {name}()")
        for module in source_modules()
        for name, node in module.calls()
        if is_target(name)
    ]


def test_only_the_session_module_and_the_api_layer_commit() -> None:
    matches = _calls_to(lambda name: name.rpartition(".")[2] == "commit")

    assert _outside(matches, SESSION_MODULE, API_LAYER) == []
    assert any(path == SESSION_MODULE for path, _ in matches)
    assert any(path.startswith(API_LAYER) for path, _ in matches)


def test_only_the_session_module_and_the_driver_send_commit_as_sql() -> None:
    matches = _matching_strings(r"^\s*(commit|begin|rollback|savepoint)\b")

    assert _outside(matches, SESSION_MODULE, "vca/kit/db/dialect.py") == []


def test_only_the_session_module_opens_sessions() -> None:
    matches = _calls_to(lambda name: name in ("Session", "sessionmaker", "scoped_session"))

    assert _outside(matches, SESSION_MODULE) == []


def test_no_code_nests_transactions() -> None:
    """The search path and the role outlive a released savepoint, so it cannot isolate a tenant."""
    nested_transactions = _calls_to(
        lambda name: name.rpartition(".")[2] in ("begin_nested", "savepoint")
    )

    assert nested_transactions == []
