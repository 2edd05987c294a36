"""Who chooses a tenant and who commits: one door, and the edge."""

import re
from collections.abc import Callable

import pytest

from tests.support.ast_index import source_modules

DOOR = "vca/tenancy/session.py"
EDGE = "vca/api/"
MIGRATIONS = ("migrations/", "tenant_migrations/")
# The worker's queue has connections of its own, that never see a tenant: they are pinned to the
# queue's schema when they are made.
QUEUE = "vca/jobs/worker_loop.py"


def _strings_like(pattern: str) -> list[tuple[str, str]]:
    found = re.compile(pattern, re.IGNORECASE)
    return [
        (module.path, f"{module.location_of(node)} {node.value!r}")
        for module in source_modules()
        for node in module.strings()
        if isinstance(node.value, str) and found.search(node.value)
    ]


def _outside(found: list[tuple[str, str]], *allowed: str) -> list[str]:
    return [place for path, place in found if not path.startswith(allowed)]


def test_search_path_is_set_by_the_door_the_migrations_and_the_queue_only() -> None:
    found = _strings_like(r"search_path")

    assert _outside(found, DOOR, QUEUE, *MIGRATIONS) == []
    assert {DOOR, QUEUE} <= {path for path, _ in found}


def test_the_queues_connections_are_pinned_to_the_queues_schema() -> None:
    [place] = [place for path, place in _strings_like(r"search_path") if path == QUEUE]

    assert "search_path=jobs " in place


@pytest.mark.parametrize("pattern", [r"\bset\s+(local\s+|session\s+)?role\b", r"set_config.*role"])
def test_roles_are_set_by_the_door_and_the_edge_only(pattern: str) -> None:
    assert _outside(_strings_like(pattern), DOOR, EDGE) == []


def test_the_tenant_of_a_transaction_is_set_by_the_door_only() -> None:
    assert _outside(_strings_like(r"set\b.*\bvca\.tenant_id\s*="), DOOR) == []
    assert _strings_like(r"set\b.*\bvca\.tenant_id\s*=")


def _calls_of(is_one: Callable[[str], bool]) -> list[tuple[str, str]]:
    return [
        (module.path, f"{module.location_of(node)} {name}()")
        for module in source_modules()
        for name, node in module.calls()
        if is_one(name)
    ]


def test_the_door_and_the_edge_commit_and_nothing_else() -> None:
    found = _calls_of(lambda name: name.rpartition(".")[2] == "commit")

    assert _outside(found, DOOR, EDGE) == []
    assert any(path == DOOR for path, _ in found)
    assert any(path.startswith(EDGE) for path, _ in found)


def test_the_driver_alone_speaks_of_commit_in_sql() -> None:
    found = _strings_like(r"^\s*(commit|begin|rollback|savepoint)\b")

    assert _outside(found, DOOR, "vca/kit/db/dialect.py") == []


def test_sessions_are_opened_by_the_door_only() -> None:
    found = _calls_of(lambda name: name in ("Session", "sessionmaker", "scoped_session"))

    assert _outside(found, DOOR) == []


def test_nobody_nests_transactions() -> None:
    """After RELEASE, path and role of a savepoint stay: they are no way to change tenants."""
    nested = _calls_of(lambda name: name.rpartition(".")[2] in ("begin_nested", "savepoint"))

    assert nested == []
