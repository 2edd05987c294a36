"""The shape of the house: everything says what it is for, nothing is too long, nothing foreign."""

import ast

from tests.support.ast_index import ROOT, Function, repository_files, source_modules

LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
# Pieces of words that belong to a workplace or to a machine that installs packages, not to the
# product; put together here, so that this file does not hold them itself.
FOREIGN = tuple(
    "".join(pieces)
    for pieces in (
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("py", "pi.org"),
        ("files.python", "hosted"),
        ("python", "hosted.org"),
        ("registry.", "npmjs"),
    )
)

ALL = source_modules(roots=("vca",))


def _length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def test_a_module_and_all_that_is_public_in_it_say_what_they_are_for() -> None:
    silent = [module.path for module in ALL if not ast.get_docstring(module.tree)]
    silent += [
        f"{module.location_of(node)} {node.name}"
        for module in ALL
        for node in module.public_definitions()
        if not ast.get_docstring(node)
    ]

    assert silent == []


def test_a_contracts_methods_say_what_they_promise() -> None:
    silent = [
        f"{module.location_of(function)} {function.name}"
        for module in ALL
        for function in module.functions()
        if "abstractmethod" in map(ast.unparse, function.decorator_list)
        and not ast.get_docstring(function)
    ]

    assert silent == []


def test_every_folder_of_the_product_is_a_package_with_a_word_about_it() -> None:
    folders = {(ROOT / module.path).parent for module in ALL}

    for folder in folders:
        text = (folder / "__init__.py").read_text()
        assert ast.get_docstring(ast.parse(text)), folder


def test_nothing_is_too_long_to_be_read_at_once() -> None:
    long = [
        module.path for module in source_modules() if len(module.text.splitlines()) > LONGEST_MODULE
    ]
    long += [
        f"{module.location_of(function)} {function.name}"
        for module in source_modules()
        for function in module.functions()
        if _length(function) > LONGEST_FUNCTION
    ]

    assert long == []


def test_functions_are_short_as_a_rule() -> None:
    lengths = sorted(_length(function) for module in ALL for function in module.functions())

    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_modules_are_short_as_a_rule() -> None:
    lengths = sorted(len(module.text.splitlines()) for module in ALL)

    assert lengths[len(lengths) // 2] <= 100


def test_no_word_of_the_workplace_is_in_the_tree() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in repository_files()
        for word in FOREIGN
        if word in path.read_text(errors="replace")
    ]

    assert found == []


def test_exceptions_are_caught_by_name() -> None:
    """`except Exception` is for the edge and the worker's loop; nothing is swallowed."""
    broad = [
        f"{module.location_of(node)}"
        for module in ALL
        for node in module.nodes()
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]

    assert broad == []
