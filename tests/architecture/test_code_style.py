"""Code style: docstrings, lengths of modules and functions, exception handlers, local paths."""

import ast

from tests.support.ast_index import ROOT, Function, repository_files, source_modules

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
# Paths of development machines and addresses of package registries. They are joined from parts,
# so that this file does not contain them.
FORBIDDEN_TEXTS = tuple(
    "".join(parts)
    for parts in (
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("py", "pi.org"),
        ("files.python", "hosted"),
        ("python", "hosted.org"),
        ("registry.", "npmjs"),
    )
)

PRODUCT_MODULES = source_modules(roots=("vca",))
# The maximum length of a module applies to these too, that of a function does not.
TEST_AND_BENCHMARK_MODULES = source_modules(roots=("tests", "benchmarks"))


def _line_count(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def test_modules_and_their_public_definitions_have_docstrings() -> None:
    undocumented = [module.path for module in PRODUCT_MODULES if not ast.get_docstring(module.tree)]
    undocumented += [
        f"{module.location_of(node)} {node.name}"
        for module in PRODUCT_MODULES
        for node in module.public_definitions()
        if not ast.get_docstring(node)
    ]

    assert undocumented == []


def test_abstract_methods_have_docstrings() -> None:
    undocumented = [
        f"{module.location_of(function)} {function.name}"
        for module in PRODUCT_MODULES
        for function in module.functions()
        if "abstractmethod" in map(ast.unparse, function.decorator_list)
        and not ast.get_docstring(function)
    ]

    assert undocumented == []


def test_every_folder_of_the_product_is_a_package_with_a_docstring() -> None:
    folders = {(ROOT / module.path).parent for module in PRODUCT_MODULES}

    for folder in folders:
        source = (folder / "__init__.py").read_text()
        assert ast.get_docstring(ast.parse(source)), folder


def test_no_module_or_function_exceeds_the_maximum_length() -> None:
    too_long = [
        module.path
        for module in (*source_modules(), *TEST_AND_BENCHMARK_MODULES)
        if len(module.text.splitlines()) > MAX_MODULE_LINES
    ]
    too_long += [
        f"{module.location_of(function)} {function.name}"
        for module in source_modules()
        for function in module.functions()
        if _line_count(function) > MAX_FUNCTION_LINES
    ]

    assert too_long == []


def test_most_functions_are_short() -> None:
    line_counts = sorted(
        _line_count(function) for module in PRODUCT_MODULES for function in module.functions()
    )

    assert line_counts[len(line_counts) // 2] <= 10
    assert line_counts[len(line_counts) * 9 // 10] <= 30


def test_most_modules_are_short() -> None:
    line_counts = sorted(len(module.text.splitlines()) for module in PRODUCT_MODULES)

    assert line_counts[len(line_counts) // 2] <= 100


def test_no_file_names_a_development_machine_or_a_package_registry() -> None:
    matches = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in repository_files()
        for text in FORBIDDEN_TEXTS
        if text in path.read_text(errors="replace")
    ]

    assert matches == []


def test_exception_handlers_name_the_exception_or_raise_it_again_or_set_it_as_the_result() -> None:
    handlers = [
        f"{module.location_of(node)}"
        for module in PRODUCT_MODULES
        for node in module.nodes()
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        and "set_exception(" not in ast.unparse(node)
    ]

    assert handlers == []
