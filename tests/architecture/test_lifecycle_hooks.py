"""Each feature of a tenant says what it contributes to imports, purges, exports and erasures."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import LargeBinary
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.support.ast_index import source_modules
from vca import app
from vca.jobs import queue
from vca.registry.base import tables_of_tenants
from vca.registry.models import metadata as public_metadata
from vca.registry.webhooks.models import ENCRYPTED_COLUMNS
from vca.services.lifecycle_hooks import (
    FeatureHooks,
    LifecycleError,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenant import models
from vca.tenant.base import TenantBase

# Columns of bytes in the public schema that are not encrypted, and the reason.
NOT_ENCRYPTED = {
    (
        "api_keys",
        "key_hash",
    ): "a keyed hash, which is replaced when the key is used after a new pepper"
}
NOTHING_TO_DO = {
    field.name: None
    for field in fields(TenantLifecycleHooks)
    if field.name not in ("feature", "tables")
}
LIFECYCLE_MODULES = app.feature_modules("lifecycle")


class ToyBase(DeclarativeBase):
    """The base of a feature's tables that only these tests have."""


class Toy(ToyBase):
    """A table with an encrypted column."""

    __tablename__ = "toys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)


class Part(ToyBase):
    """A table with an encrypted column, whose key is not `id`."""

    __tablename__ = "parts"

    number: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)


def _toy_arguments() -> dict[str, Any]:
    """Return the arguments of the complete hooks of a feature with one table."""
    table = TenantTable(model=Toy, encrypted=("secret",), configuration=False)
    return {"feature": "toys", "tables": (table,), **NOTHING_TO_DO}


# --- Features that forget something ------------------------------------------------------------


@pytest.mark.parametrize("hook", ["feature", "tables", *NOTHING_TO_DO])
def test_a_feature_that_forgets_a_hook_does_not_start(hook: str) -> None:
    arguments = _toy_arguments()
    TenantLifecycleHooks(**arguments)
    del arguments[hook]

    with pytest.raises(TypeError, match=f"missing 1 required keyword-only argument: '{hook}'"):
        TenantLifecycleHooks(**arguments)


def test_no_hook_has_a_default() -> None:
    assert [
        field.name
        for field in fields(TenantLifecycleHooks)
        if field.default is not MISSING or field.default_factory is not MISSING
    ] == []


@pytest.mark.parametrize("declaration", ["encrypted", "configuration"])
def test_a_table_that_forgets_a_declaration_does_not_start(declaration: str) -> None:
    arguments = {"model": Toy, "encrypted": ("secret",), "configuration": False}
    TenantTable(**arguments)  # type: ignore[arg-type] # a dict of different types
    del arguments[declaration]

    with pytest.raises(TypeError, match=declaration):
        TenantTable(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "encrypted", "problem"),
    [
        (Toy, (), "toys.secret is not declared as encrypted"),
        (Toy, ("secret", "id"), "toys.id has no bytes"),
        (Toy, ("secret", "other"), "toys.other has no bytes"),
        (Part, ("secret",), "parts has encrypted columns, but its key is not `id`"),
    ],
)
def test_a_table_with_wrong_encrypted_columns_does_not_start(
    model: type[DeclarativeBase], encrypted: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(LifecycleError, match=problem):
        TenantTable(model=model, encrypted=encrypted, configuration=False)


@pytest.mark.parametrize(
    ("tables_by_feature", "table_names", "owners"),
    [
        ({"toys": ()}, ["toys"], "none"),
        ({"toys": (Toy,), "games": (Toy,)}, ["toys"], "toys, games"),
        ({"toys": (Toy, Toy)}, ["toys"], "toys, toys"),
        ({"toys": (Toy,)}, [], "toys"),
    ],
)
def test_a_table_without_exactly_one_feature_does_not_start(
    tables_by_feature: Mapping[str, tuple[type[DeclarativeBase], ...]],
    table_names: list[str],
    owners: str,
) -> None:
    features = [
        TenantLifecycleHooks(
            feature=feature,
            tables=tuple(
                TenantTable(model=model, encrypted=("secret",), configuration=False)
                for model in tables
            ),
            **NOTHING_TO_DO,
        )
        for feature, tables in tables_by_feature.items()
    ]

    with pytest.raises(LifecycleError, match=rf"the table toys .* belongs to {owners}$"):
        FeatureHooks(features, table_names=table_names)


def test_the_app_does_not_start_with_a_feature_that_is_not_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed_features = [name for name in app.FEATURES if name != "vca.tenant.messages"]
    monkeypatch.setattr(app, "FEATURES", listed_features)

    with pytest.raises(LifecycleError, match=r"the table messages .* belongs to none"):
        app.load_feature_hooks()


def test_the_app_does_not_start_with_a_package_whose_hooks_are_incomplete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "toy_feature"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "lifecycle.py").write_text(
        "from vca.services.lifecycle_hooks import TenantLifecycleHooks\n"
        "HOOKS = TenantLifecycleHooks(feature='toys', tables=())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(app, "FEATURES", [*app.FEATURES, "toy_feature"])

    with pytest.raises(TypeError, match="missing 10 required keyword-only arguments") as error:
        app.load_feature_hooks()

    assert error.value.__notes__ == ["Feature: toy_feature"]


# --- The features of the product ---------------------------------------------------------------


@pytest.mark.parametrize("module", LIFECYCLE_MODULES, ids=lambda module: module.HOOKS.feature)
def test_a_feature_declares_all_tables_of_its_own_package(module: ModuleType) -> None:
    package = module.__name__.rpartition(".")[0]
    own_tables = {
        mapper.local_table.description
        for mapper in TenantBase.registry.mappers
        if mapper.class_.__module__.startswith(f"{package}.")
    }

    assert {table.name for table in module.HOOKS.tables} == own_tables
    assert package == f"vca.tenant.{module.HOOKS.feature}"
    assert own_tables


def test_every_package_with_tables_has_hooks() -> None:
    packages = {
        ".".join(mapper.class_.__module__.split(".")[:3]) for mapper in TenantBase.registry.mappers
    }

    assert {f"vca.tenant.{module.HOOKS.feature}" for module in LIFECYCLE_MODULES} == packages
    assert models.metadata is TenantBase.metadata


def test_features_whose_rows_name_a_call_come_after_calls() -> None:
    features = [module.HOOKS.feature for module in LIFECYCLE_MODULES]
    tables = {
        module.HOOKS.feature: [table.table for table in module.HOOKS.tables]
        for module in LIFECYCLE_MODULES
    }

    referring = {name for name in features if any("call_id" in table.c for table in tables[name])}

    assert referring >= {"calls", "messages", "recordings"}
    assert min(map(features.index, referring)) == features.index("calls")


def test_every_encrypted_column_of_the_platform_is_re_encrypted() -> None:
    byte_columns = {
        (table.name, column.name)
        for table in public_metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }

    assert byte_columns - NOT_ENCRYPTED.keys() == set(ENCRYPTED_COLUMNS)
    assert byte_columns >= NOT_ENCRYPTED.keys()
    for table_name, _ in ENCRYPTED_COLUMNS:
        [table] = [table for table in public_metadata.sorted_tables if table.name == table_name]
        assert table.primary_key.columns.keys() == ["id"]


# --- The order of the hooks --------------------------------------------------------------------


def _recording_hooks(feature: str, record: Callable[[str], None]) -> TenantLifecycleHooks:
    def note(*_: object, **__: object) -> dict[str, int]:
        record(feature)
        return {"rows": 1}

    hooks = TenantLifecycleHooks(feature=feature, tables=(), **NOTHING_TO_DO)
    return replace(hooks, import_tenant=note, erase_rows=note, erase_files=note)


def test_erasures_use_the_reverse_of_the_order_of_imports() -> None:
    order: list[str] = []
    hooks = FeatureHooks(
        [_recording_hooks(name, order.append) for name in ("calls", "webhooks")], table_names=()
    )
    arguments: tuple[Any, Any] = (object(), object())
    services: Any = object()

    assert hooks.import_tenant(*arguments) == {"rows": 1}
    assert hooks.erase_rows(*arguments) == {"rows": 2}
    assert hooks.erase_files(*arguments, services=services) == {"rows": 2}

    assert order == ["calls", "webhooks", "webhooks", "calls", "webhooks", "calls"]


# --- Jobs --------------------------------------------------------------------------------------


def test_no_package_names_a_task_of_a_higher_one(bare_app: Flask) -> None:
    """A lower package lets the higher one enqueue its own jobs, through a hook."""
    package_of_task = {
        task: ".".join(function.__module__.split(".")[:3]) for task, function in queue.TASKS.items()
    }
    misplaced = [
        f"{module.location_of(node)} {node.value}"
        for module in source_modules(roots=("vca",))
        for node in module.strings()
        if isinstance(node.value, str)
        and node.value in package_of_task
        and not module.path.startswith(package_of_task[node.value].replace(".", "/"))
    ]

    assert misplaced == []
    assert len(package_of_task) >= 25


# --- The public schema -------------------------------------------------------------------------


def test_every_public_table_with_rows_of_tenants_says_what_happens_to_them() -> None:
    tables = {table.name: rows for table, rows in tables_of_tenants()}

    assert set(tables) == {
        table.name for table in public_metadata.sorted_tables if "tenant_id" in table.c
    }
    assert {name for name, rows in tables.items() if not rows.purged} == {"audit_entries"}
