"""Every operation has exactly one guard, and no way around it."""

import ast

import pytest
from flask import Flask

from tests.support.ast_index import SourceModule, dotted_name, source_modules
from vca.api import guards
from vca.kit.web.access import access, declared_access
from vca.registry.idempotency import service as idempotency

# Files of the documentation, the same for everybody.
UNGUARDED = {"docs.static"}
# The claim before the work, and the answer that is kept after it.
FINISHING_S = 8.0


def _decorators(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [
        dotted_name(decorator.func if isinstance(decorator, ast.Call) else decorator)
        for decorator in function.decorator_list
    ]


def _views() -> list[tuple[SourceModule, ast.FunctionDef | ast.AsyncFunctionDef]]:
    return [
        (module, function)
        for module in source_modules()
        for function in module.functions()
        if any(name.endswith(".route") for name in _decorators(function))
    ]


def test_there_are_views() -> None:
    assert len(_views()) > 30


def test_every_view_declares_its_access_once_next_to_its_function() -> None:
    wrong = [
        str(module.location_of(view))
        for module, view in _views()
        if _decorators(view).count("access") != 1 or _decorators(view)[-1] != "access"
    ]

    assert wrong == []


def test_every_endpoint_of_the_app_is_guarded(bare_app: Flask) -> None:
    for endpoint, view in bare_app.view_functions.items():
        if endpoint in UNGUARDED:
            continue
        assert declared_access(view) is not None, endpoint
        assert view.__code__.co_filename == guards.__file__, f"{endpoint} is not wrapped"


def test_nothing_but_the_documentations_files_goes_unguarded(bare_app: Flask) -> None:
    open_to_all = {
        name for name, view in bare_app.view_functions.items() if not declared_access(view)
    }

    assert open_to_all == UNGUARDED


def test_every_operation_of_a_tenant_opens_its_schema_or_public_or_calls_out(
    bare_app: Flask,
) -> None:
    for rule in bare_app.url_map.iter_rules():
        found = declared_access(bare_app.view_functions[rule.endpoint])
        if found is None:
            continue
        of_a_tenant = "tenant_id" in rule.arguments
        assert of_a_tenant or found.transaction != "tenant", rule.rule
        assert found.audience != "tenant" or of_a_tenant, rule.rule
        assert not of_a_tenant or found.audience in ("tenant", "platform"), rule.rule


def test_what_changes_something_needs_a_scope_that_writes(bare_app: Flask) -> None:
    for rule in bare_app.url_map.iter_rules():
        found = declared_access(bare_app.view_functions[rule.endpoint])
        if found is None or found.audience in ("anyone", "carrier", "any_key"):
            continue
        assert found.scope is not None, rule.rule
        changing = rule.methods & {"PUT", "PATCH", "DELETE"} if rule.methods else set()
        assert not changing or found.writes, rule.rule


def test_no_operation_works_longer_on_a_key_than_its_claim_holds(bare_app: Flask) -> None:
    """Or the next request under the same Idempotency-Key would do it all again meanwhile."""
    holds_s = idempotency.ABANDONED_AFTER.total_seconds() - FINISHING_S
    for rule in bare_app.url_map.iter_rules():
        found = declared_access(bare_app.view_functions[rule.endpoint])
        if found is not None and found.idempotency != "none":
            assert (found.budget_s or guards.CALLING_OUT_BUDGET_S) <= holds_s, rule.rule


def test_an_app_with_an_unguarded_view_does_not_start() -> None:
    app = Flask("unguarded", static_folder=None)
    app.add_url_rule("/", "open", lambda: "hello")

    with pytest.raises(LookupError, match="open declares no access"):
        guards.install(app)


def test_a_view_with_two_guards_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="twice"):

        @access("platform", "read")
        @access("anyone")
        def view() -> None: ...
