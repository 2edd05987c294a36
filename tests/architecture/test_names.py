"""No name of the code is on the list of banned names, which also gives the replacement."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ast_index import ROOT

_BANNED_NAMES_FILE = Path(__file__).with_name("banned_names.txt")
_FOLDERS = ("vca", "tests", "benchmarks")


def _read_banned_names() -> dict[str, str]:
    """Return the replacement of each banned name; a prefix ends with `*`."""
    lines = _BANNED_NAMES_FILE.read_text().splitlines()
    entries = [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]
    replacements: dict[str, str] = dict(entries)
    assert len(replacements) == len(entries), "a name is listed twice"
    return replacements


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
    place = path.relative_to(ROOT)
    names = [(1, path.stem), *_definitions(ast.parse(path.read_text()))]
    for line, name in names:
        if replacement := _replacement(name, banned_names):
            yield f"{place}:{line}: {name} -> {replacement}"


@pytest.mark.parametrize("folder", _FOLDERS)
def test_no_name_is_banned(folder: str) -> None:
    banned_names = _read_banned_names()
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths

    violations = [violation for path in paths for violation in _violations(path, banned_names)]

    assert violations == []


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
