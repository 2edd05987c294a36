"""The product's source as a reader sees it: modules, their syntax trees, and the words in them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SOURCE_PATHS = ("vca", "migrations", "tenant_migrations", "wsgi.py", "gunicorn.conf.py")
# What tools and runs leave behind, and what a person keeps to herself.
_IGNORED_NAMES = {"__pycache__", ".git", ".venv", ".vca", ".env", ".hypothesis"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceLocation:
    """A line of the product."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class SourceModule:
    """One Python file."""

    path: str

    @cached_property
    def text(self) -> str:
        return (ROOT / self.path).read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    def nodes(self) -> tuple[ast.AST, ...]:
        return self._nodes

    @cached_property
    def _nodes(self) -> tuple[ast.AST, ...]:
        """Walked once: there are more questions than files."""
        return tuple(ast.walk(self.tree))

    def location_of(self, node: ast.AST) -> SourceLocation:
        return SourceLocation(self.path, getattr(node, "lineno", 1))

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        for node in self.nodes():
            if isinstance(node, Function):
                yield node

    def public_definitions(self) -> Iterator[Function | ast.ClassDef]:
        """The functions and classes that other modules may use."""
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                yield node

    def strings(self) -> tuple[ast.Constant, ...]:
        """Every string but documentation; of f-strings, the fixed parts."""
        return self._strings

    @cached_property
    def _strings(self) -> tuple[ast.Constant, ...]:
        documentation = {
            id(node.body[0].value)
            for node in self.nodes()
            if isinstance(node, ast.Module | ast.ClassDef | Function)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        return tuple(
            node
            for node in self.nodes()
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
        )

    def imports(self) -> Iterator[tuple[str, ast.AST]]:
        """Dotted names of all that is imported, `from` imports with the name they take."""
        for node in self.nodes():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield f"{node.module or ''}.{alias.name}", node

    def names(self) -> Iterator[tuple[str, ast.AST]]:
        """Every dotted name that is used, as `os.environ`."""
        for node in self.nodes():
            if isinstance(node, ast.Attribute):
                yield dotted_name(node), node

    def calls(self, within: ast.AST | None = None) -> Iterator[tuple[str, ast.Call]]:
        """Every call with the dotted name that is called, as `session.commit`."""
        for node in ast.walk(within) if within else self.nodes():
            if isinstance(node, ast.Call):
                yield dotted_name(node.func), node


def dotted_name(node: ast.AST) -> str:
    """`a.b.c` of a chain of attributes; what is no name is left out, as in `().c`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


@cache
def source_modules(*, roots: tuple[str, ...] = _SOURCE_PATHS) -> tuple[SourceModule, ...]:
    """The product's Python files, migrations included, tests not."""
    paths: list[Path] = []
    for name in roots:
        start = ROOT / name
        paths += [start] if start.is_file() else sorted(start.rglob("*.py"))
    return tuple(_cached_module(str(path.relative_to(ROOT))) for path in paths)


@cache
def _cached_module(path: str) -> SourceModule:
    """The same for every question: parsing it takes longer than most of them."""
    return SourceModule(path)


def source_module(path: str) -> SourceModule:
    """One module by its path from the root."""
    [match] = [candidate for candidate in source_modules() if candidate.path == path]
    return match


def repository_files() -> Iterator[Path]:
    """Every file that belongs to the repository."""
    pending = [ROOT]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            if path.name in _IGNORED_NAMES or path.name.endswith("_cache"):
                continue
            if path.is_dir():
                pending.append(path)
            elif path.suffix != ".pyc":
                yield path
