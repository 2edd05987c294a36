"""The product uses no private names of libraries, apart from the few that are listed here.

A listed name that its library no longer has, or that the product no longer uses, fails the test.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator

from tests.support.ast_index import SourceModule, source_modules

_LIBRARIES = {
    "alembic", "apispec", "click", "flask", "flask_smorest", "gunicorn", "marshmallow",
    "procrastinate", "prometheus_client", "psycopg", "psycopg2", "psycopg_pool", "sqlalchemy",
    "structlog", "webargs", "werkzeug",
}  # fmt: skip
# Attributes with an underscore that their libraries document as public: rows and named tuples use
# it so that no column has the same name, and werkzeug's proxies so that no attribute has.
_DOCUMENTED_ATTRIBUTES = {"_asdict", "_fields", "_get_current_object", "_make", "_mapping"}
# Attributes of other libraries and of the product's own modules.
_OTHER_ATTRIBUTES = {
    "vca/kit/mail.py server._host": "smtplib sets the name for TLS only when it connects itself",
    "vca/telephony/providers/twilio/calls.py call_resource._from": "`from` is a keyword",
    "vca/telephony/providers/fake/adapter.py adapter._has_account": "its own class",
}
# Methods of library classes that the product overrides.
_OVERRIDDEN_METHODS = {
    "vca.kit.web.schema.DateTime._deserialize": "documented by marshmallow",
    "vca.kit.web.schema.QueryInteger._deserialize": "documented by marshmallow",
    "vca.kit.web.schema.StrictBoolean._deserialize": "documented by marshmallow",
    "vca.kit.web.schema.StrictNumber._deserialize": "documented by marshmallow",
    "vca.kit.web.schema.Uuid._deserialize": "documented by marshmallow",
    "vca.registry.usage.schemas.MonthField._deserialize": "documented by marshmallow",
    "vca.api.openapi.Api._register_error_handlers": "decision 96",
}


def _foreign_private_attributes(module: SourceModule) -> Iterator[str]:
    """Yield each use of a private attribute that is not one of the object or class itself."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Attribute) or not _is_private(node.attr):
            continue
        owner = ast.unparse(node.value)
        if owner not in ("self", "cls", "super()"):
            yield f"{module.path} {owner}.{node.attr}"


def _private_imports(module: SourceModule) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        else:
            continue
        yield from (f"{module.path} imports {name}" for name in names if _is_private(name))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _private_library_members(module: SourceModule) -> Iterator[str]:
    """Yield private members of library classes that a subclass overrides or uses."""
    name = module.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    for node in classes:
        subclass = vars(importlib.import_module(name)).get(node.name)
        if not inspect.isclass(subclass):
            continue
        bases = [base for base in subclass.__mro__ if _library_of(base) in _LIBRARIES]
        library_names = {member for base in bases for member in vars(base) if _is_private(member)}
        used_names = {
            *(child.name for child in node.body if isinstance(child, ast.FunctionDef)),
            *(child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)),
        }
        yield from (f"{name}.{node.name}.{used}" for used in sorted(library_names & used_names))


def _library_of(base: type) -> str:
    return base.__module__.partition(".")[0]


MODULES = source_modules(roots=("vca",))


def test_no_private_attribute_of_a_library_is_used() -> None:
    uses = {use for module in MODULES for use in _foreign_private_attributes(module)}

    undocumented = {use for use in uses if use.rpartition(".")[2] not in _DOCUMENTED_ATTRIBUTES}

    assert undocumented == _OTHER_ATTRIBUTES.keys()


def test_nothing_private_is_imported() -> None:
    assert [use for module in MODULES for use in _private_imports(module)] == []


def test_subclasses_use_only_the_listed_private_methods_of_libraries() -> None:
    uses = {use for module in MODULES for use in _private_library_members(module)}

    assert uses == _OVERRIDDEN_METHODS.keys()
