"""Every endpoint declares its access exactly once and is wrapped by the guard."""

import ast

import pytest
from flask import Flask

from tests.support.ast_index import SourceModule, dotted_name, source_modules
from vca.api import guards
from vca.kit.web.access import access, declared_access
from vca.registry.idempotency import service as idempotency

# Static files of the documentation.
UNGUARDED_ENDPOINTS = {"docs.static"}
# The time to claim an idempotency key and to store the response.
OVERHEAD_S = 8.0
MAX_MODEL_TIMEOUT_S = 60.0


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


def test_the_index_of_the_source_contains_the_views() -> None:
    assert len(_views()) > 30


def test_every_view_declares_its_access_once_in_the_innermost_decorator() -> None:
    violations = [
        str(module.location_of(view))
        for module, view in _views()
        if _decorators(view).count("access") != 1 or _decorators(view)[-1] != "access"
    ]

    assert violations == []


def test_the_guard_wraps_every_endpoint(bare_app: Flask) -> None:
    for endpoint, view in bare_app.view_functions.items():
        if endpoint in UNGUARDED_ENDPOINTS:
            continue
        assert declared_access(view) is not None, endpoint
        assert view.__code__.co_filename == guards.__file__, f"{endpoint} is not wrapped"


def test_only_the_files_of_the_documentation_declare_no_access(bare_app: Flask) -> None:
    unguarded = {
        name for name, view in bare_app.view_functions.items() if not declared_access(view)
    }

    assert unguarded == UNGUARDED_ENDPOINTS


def test_operations_for_tenants_have_the_tenant_in_their_path(
    bare_app: Flask,
) -> None:
    for rule in bare_app.url_map.iter_rules():
        declared = declared_access(bare_app.view_functions[rule.endpoint])
        if declared is None:
            continue
        has_tenant_id = "tenant_id" in rule.arguments
        assert has_tenant_id or declared.transaction != "tenant", rule.rule
        assert declared.audience != "tenant" or has_tenant_id, rule.rule
        assert not has_tenant_id or declared.audience in ("tenant", "platform"), rule.rule


def test_operations_that_change_data_require_a_scope_that_writes(bare_app: Flask) -> None:
    for rule in bare_app.url_map.iter_rules():
        declared = declared_access(bare_app.view_functions[rule.endpoint])
        if declared is None or declared.audience in ("anyone", "carrier", "any_key"):
            continue
        assert declared.scope is not None, rule.rule
        writing_methods = rule.methods & {"PUT", "PATCH", "DELETE"} if rule.methods else set()
        assert not writing_methods or declared.writes, rule.rule


def test_an_idempotent_operation_ends_before_its_claim_expires(bare_app: Flask) -> None:
    """Otherwise a second request with the same Idempotency-Key would repeat the operation."""
    max_budget_s = idempotency.ABANDONED_AFTER.total_seconds() - OVERHEAD_S
    for rule in bare_app.url_map.iter_rules():
        declared = declared_access(bare_app.view_functions[rule.endpoint])
        if declared is not None and declared.idempotency != "none":
            budget_s = declared.budget_s or guards.calling_out_budget_s(MAX_MODEL_TIMEOUT_S)
            assert budget_s <= max_budget_s, rule.rule


def test_an_app_with_a_view_without_access_does_not_start() -> None:
    app = Flask("unguarded", static_folder=None)
    app.add_url_rule("/", "open", lambda: "hello")

    with pytest.raises(LookupError, match="open declares no access"):
        guards.install(app, model_timeout_s=10.0)


def test_declaring_the_access_of_a_view_twice_raises_type_error() -> None:
    with pytest.raises(TypeError, match="twice"):

        @access("platform", "read")
        @access("anyone")
        def view() -> None: ...
