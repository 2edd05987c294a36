"""No name of the code is on the list of banned names, which also gives the replacement."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ast_index import ROOT

_BANNED_NAMES_FILE = Path(__file__).with_name("banned_names.txt")
_FOLDERS = ("vca", "tests", "benchmarks")
# These modules declare fields of the API and columns of the database, whose names are a contract.
_CONTRACT_MODULES = ("schemas.py", "models.py")
# Other names that are stored, printed or given by a library.
_CONTRACT_NAMES = {
    ("vca/kit/web/schema.py", "many"),  # marshmallow's parameter
    ("vca/registry/api_keys/routes.py", "me"),  # an operation id of the OpenAPI document
    ("vca/registry/tenants/purge.py", "kept_schemas"),  # printed by `tenants purge`
    ("vca/registry/tenants/transfer.py", "kept_schema"),  # printed by `tenants import`
    ("vca/tenant/key_rotation/rotation.py", "left"),  # printed by `secrets rotate`
    ("vca/tenant/privacy/erasure_ledger.py", "asked_at"),  # stored in the ledger's files
    ("vca/tenant/webhooks/tasks.py", "at"),  # an argument of stored jobs
}


def _read_banned_names() -> dict[str, str]:
    """Return the replacement of each banned name; a prefix ends with `*`."""
    lines = _BANNED_NAMES_FILE.read_text().splitlines()
    entries = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    banned_names = {name: replacement for name, replacement in entries}  # noqa: C416
    assert len(banned_names) == len(entries), "a name is listed twice"
    return banned_names


def _definitions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each definition, parameter, variable, attribute and alias."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def _replacement(name: str, banned_names: dict[str, str]) -> str | None:
    """Return what to use in place of a banned name; None if the name is not banned."""
    plain_name = name.strip("_").lower()
    if plain_name in banned_names:
        return banned_names[plain_name]
    for banned, replacement in banned_names.items():
        if banned.endswith("*") and plain_name.startswith(banned[:-1]):
            return replacement
    return None


def _violations(path: Path, banned_names: dict[str, str]) -> Iterator[str]:
    module = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text())
    fields = _declared_fields(tree) if path.name in _CONTRACT_MODULES else set()
    for line, name in [(1, path.stem), *_definitions(tree)]:
        replacement = _replacement(name, banned_names)
        if replacement and name not in fields and (module, name) not in _CONTRACT_NAMES:
            yield f"{module}:{line}: {name} -> {replacement}"


def _declared_fields(tree: ast.AST) -> set[str]:
    """Return the names that are assigned in the bodies of classes."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        if isinstance(target, ast.Name)
    }


@pytest.mark.parametrize("folder", _FOLDERS)
def test_no_name_is_banned(folder: str) -> None:
    banned_names = _read_banned_names()
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths

    violations = [violation for path in paths for violation in _violations(path, banned_names)]

    assert violations == []


@pytest.mark.parametrize(("module", "name"), sorted(_CONTRACT_NAMES))
def test_every_exemption_is_needed(module: str, name: str) -> None:
    defined_names = {name for _, name in _definitions(ast.parse((ROOT / module).read_text()))}

    assert name in defined_names
    assert _replacement(name, _read_banned_names())


@pytest.mark.parametrize(
    "source",
    [
        "told = 1",
        "def f(told): ...",
        "def _told(): ...",
        "class Told: ...",
        "self.told = 1",
        "TOLD: int",
        "try: ...\nexcept E as told: ...",
        "import json as told",
        "match x:\n case [*told]: ...",
        "match x:\n case {'a': told}: ...",
        "[told for told in x]",
        "told_late = 1",
        "lambda told: 1",
        "with f() as told: ...",
        "def f(*told): ...",
    ],
)
def test_every_kind_of_definition_is_checked(source: str) -> None:
    names = [name for _, name in _definitions(ast.parse(source))]

    assert [name for name in names if _replacement(name, _read_banned_names())]
