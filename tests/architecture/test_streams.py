"""What a stream leads to is the outcome of an `OutcomeStream`, not the value of a generator."""

import ast

from tests.support.ast_index import Function, SourceModule, source_modules

_GENERATOR_NAMES = ("Generator", "AsyncGenerator")


def _product_modules() -> list[SourceModule]:
    return [module for module in source_modules() if module.path.startswith("vca/")]


def _returns_value(annotation: ast.Subscript) -> bool:
    """Return whether a `Generator[...]` has a third argument other than None."""
    name = ast.unparse(annotation.value).rpartition(".")[2]
    arguments = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
    if name not in _GENERATOR_NAMES or len(arguments) < 3:
        return False
    return not (isinstance(arguments[2], ast.Constant) and arguments[2].value is None)


def _own_nodes(function: Function) -> list[ast.AST]:
    """Return the nodes of a function without those of the functions inside it."""
    nodes: list[ast.AST] = []
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        nodes.append(node)
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            pending += ast.iter_child_nodes(node)
    return nodes


def _generator_results(module: SourceModule) -> list[str]:
    """Return where a generator returns a value, or uses that of another one."""
    violations: list[ast.AST] = [
        node
        for node in module.nodes()
        if (isinstance(node, ast.Subscript) and _returns_value(node))
        or (isinstance(node, ast.Attribute) and ast.unparse(node).endswith("end.value"))
    ]
    for function in module.functions():
        nodes = _own_nodes(function)
        statements = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        violations += [
            node for node in nodes if isinstance(node, ast.YieldFrom) and id(node) not in statements
        ]
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes):
            violations += [
                node for node in nodes if isinstance(node, ast.Return) and node.value is not None
            ]
    return [str(module.location_of(node)) for node in violations]


def test_no_generator_of_the_product_returns_a_value() -> None:
    assert [place for module in _product_modules() for place in _generator_results(module)] == []


def test_the_rule_finds_each_way_to_return_a_value_from_a_generator() -> None:
    class Example(SourceModule):
        text = (
            "def annotated() -> Generator[str, None, int]: ...\n"
            "def returning():\n    yield 1\n    return 2\n"
            "def delegating():\n    value = yield from returning()\n"
            "def reading(end):\n    return end.value\n"
            "def plain() -> Generator[str, None, None]:\n    yield from ()\n    return\n"
        )

    assert _generator_results(Example("example.py")) == [
        "example.py:1",
        "example.py:8",
        "example.py:4",
        "example.py:6",
    ]
