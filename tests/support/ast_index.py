"""Index of the repository's source: modules, their syntax trees, names, calls and strings."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SOURCE_PATHS = ("vca", "migrations", "tenant_migrations", "wsgi.py", "gunicorn.conf.py")
# Files of tools and of runs, and a developer's private settings.
_IGNORED_NAMES = {"__pycache__", ".git", ".venv", ".vca", ".env", ".hypothesis"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceLocation:
    """A line of a source file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class SourceModule:
    """A Python file of the repository."""

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
        """Return all nodes. They are cached, because many tests ask for the nodes of each file."""
        return tuple(ast.walk(self.tree))

    def location_of(self, node: ast.AST) -> SourceLocation:
        return SourceLocation(self.path, getattr(node, "lineno", 1))

    def functions(self) -> Iterator[Function]:
        """Yield every function and method, nested ones included."""
        for node in self.nodes():
            if isinstance(node, Function):
                yield node

    def public_definitions(self) -> Iterator[Function | ast.ClassDef]:
        """Yield the public functions and classes of the module."""
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                yield node

    def strings(self) -> tuple[ast.Constant, ...]:
        """Return every string except docstrings; of an f-string, its constant parts."""
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
        """Yield the dotted name of everything imported; for `from a import b`, it is `a.b`."""
        for node in self.nodes():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield f"{node.module or ''}.{alias.name}", node

    def names(self) -> Iterator[tuple[str, ast.AST]]:
        """Yield every dotted name, such as `os.environ`."""
        for node in self.nodes():
            if isinstance(node, ast.Attribute):
                yield dotted_name(node), node

    def calls(self, within: ast.AST | None = None) -> Iterator[tuple[str, ast.Call]]:
        """Yield every call with the dotted name of what is called, such as `session.commit`."""
        for node in ast.walk(within) if within else self.nodes():
            if isinstance(node, ast.Call):
                yield dotted_name(node.func), node


def dotted_name(node: ast.AST) -> str:
    """Return `a.b.c` for a chain of attributes; omit parts that are no names: `().c` gives `c`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


@cache
def source_modules(*, roots: tuple[str, ...] = _SOURCE_PATHS) -> tuple[SourceModule, ...]:
    """Return the Python files of the roots; by default the product's, migrations included."""
    paths: list[Path] = []
    for name in roots:
        start = ROOT / name
        paths += [start] if start.is_file() else sorted(start.rglob("*.py"))
    return tuple(_cached_module(str(path.relative_to(ROOT))) for path in paths)


@cache
def _cached_module(path: str) -> SourceModule:
    """Return the module of a path. It is cached, because parsing takes longer than most tests."""
    return SourceModule(path)


def source_module(path: str) -> SourceModule:
    """Return a module by its path from the repository's root."""
    [match] = [candidate for candidate in source_modules() if candidate.path == path]
    return match


def repository_files() -> Iterator[Path]:
    """Yield every file of the repository."""
    pending = [ROOT]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            if path.name in _IGNORED_NAMES or path.name.endswith("_cache"):
                continue
            if path.is_dir():
                pending.append(path)
            elif path.suffix != ".pyc":
                yield path
