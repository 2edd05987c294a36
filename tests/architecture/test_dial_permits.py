"""Only `dialling.permit` creates a permission to dial, and adapters take nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

from vca.telephony import types

ROOT = Path(types.__file__).parents[1]
CREATOR = "vca/tenant/settings/dialling.py"
CLASS = "DialPermit"


def _paths() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield f"vca/{path.relative_to(ROOT)}", ast.parse(path.read_text())


def _uses(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that use the class other than as a type: calls, aliases, subclasses."""
    allowed: set[int] = set()
    for node in ast.walk(tree):
        annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            annotations += node.args[1:]
        for annotation in filter(None, annotations):
            allowed |= {id(inner) for inner in ast.walk(annotation)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == CLASS and id(node) not in allowed:
            yield node
        if isinstance(node, ast.Attribute) and node.attr == CLASS and id(node) not in allowed:
            yield node
        if isinstance(node, ast.alias) and node.name == CLASS and node.asname:
            yield node


def test_only_the_dialling_policy_creates_permissions() -> None:
    uses = [(path, node.lineno) for path, tree in _paths() for node in _uses(tree)]  # type: ignore[attr-defined]

    assert [path for path, _ in uses] == [CREATOR], uses


def test_the_permission_is_created_in_one_function() -> None:
    tree = ast.parse((ROOT.parent / CREATOR).read_text())
    functions = [
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and list(_uses(function))
    ]

    assert functions == ["permit"]


def test_nothing_replaces_the_number_of_a_permission() -> None:
    """`dataclasses.replace` and `object.__setattr__` would make one from another."""
    for path, tree in _paths():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("replace"):
                arguments = [ast.unparse(argument) for argument in node.args[:1]]
                assert not any("permit" in argument for argument in arguments), path


def test_actions_that_dial_hold_a_permission_and_no_number() -> None:
    for dialling_type in (types.Forward, types.Transfer, types.OutboundCall):
        fields = dialling_type.__annotations__
        assert fields["permit"].__name__ == CLASS
        assert "number" not in fields
