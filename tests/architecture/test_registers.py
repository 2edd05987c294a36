"""Things that must be listed twice are: adapters and their suites, jobs and tasks, revisions."""

import ast
from collections.abc import Iterator

import click
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.support.ast_index import (
    ROOT,
    Function,
    SourceModule,
    dotted_name,
    source_module,
    source_modules,
)
from vca import app
from vca.conversation.llm import MODEL_CLIENTS
from vca.telephony.providers import ADAPTERS

TREES = ("migrations", "tenant_migrations")


# --- Contracts -------------------------------------------------------------------------------


def _suites(contract: str) -> set[str]:
    """The names that files import which define a subclass of the contract suite."""
    imported: set[str] = set()
    for test in (it for it in source_modules(roots=("tests",)) if contract in it.text):
        bases = [
            dotted_name(base).rpartition(".")[2]
            for node in test.nodes()
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
            for base in node.bases
        ]
        if contract in bases:
            imported |= {name for name, _ in test.imports()}
    return imported


@pytest.mark.parametrize(
    ("contract", "path"),
    [
        *(("TelephonyContract", path) for path in ADAPTERS.values()),
        *(("ModelContract", path) for path in MODEL_CLIENTS.values()),
    ],
)
def test_whatever_keeps_a_contract_has_a_subclass_of_its_suite(contract: str, path: str) -> None:
    assert path.replace(":", ".") in _suites(contract)


# --- Jobs ------------------------------------------------------------------------------------


def _constants(where: SourceModule) -> dict[str, str]:
    """The module's own names of strings."""
    return {
        target.id: node.value.value
        for node in where.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _known(where: SourceModule) -> dict[str, str]:
    """The strings that names stand for in a module, imported ones too."""
    known = _constants(where)
    for imported, _ in where.imports():
        origin, _, name = imported.rpartition(".")
        path = f"{origin.replace('.', '/')}.py"
        if origin.startswith("vca.") and (ROOT / path).is_file():
            theirs = _constants(source_module(path))
            known |= {name: theirs[name]} if name in theirs else {}
    return known


def _tasks() -> dict[str, str]:
    """Names of tasks and the modules that register them."""
    return {
        _known(where)[name.id] if isinstance(name, ast.Name) else name.value: where.path  # type: ignore[attr-defined] # a constant then
        for where in source_modules()
        for called, node in where.calls()
        if called == "queue.task"
        for name in node.args[:1]
    }


def _enqueued() -> dict[str, str]:
    """Names of jobs that are enqueued somewhere, and where."""
    found: dict[str, str] = {}
    for where in source_modules():
        known = _known(where)
        for function in where.functions():
            for called, node in where.calls(function):
                if called == "queue.enqueue":
                    for name in _meant(where, known, function, node.args[1]):
                        found[name] = str(where.location_of(node))
    return found


def _meant(
    where: SourceModule, known: dict[str, str], function: Function, name: ast.expr
) -> Iterator[str]:
    """Every string that an expression may be, a function's own parameter included."""
    parameters = [argument.arg for argument in function.args.args]
    match name:
        case ast.Constant(str(text)):
            yield text
        case ast.IfExp():
            yield from _meant(where, known, function, name.body)
            yield from _meant(where, known, function, name.orelse)
        case ast.Name(id=given) if given in known:
            yield known[given]
        case ast.Name(id=given) if given in parameters:
            at = parameters.index(given)
            for caller in where.functions():
                for called, node in where.calls(caller):
                    if called == function.name:
                        yield from _meant(where, known, caller, node.args[at])
        case _:
            raise AssertionError(f"{where.location_of(name)}: cannot tell which job this is")


def test_every_job_that_is_enqueued_has_a_task_and_every_task_is_enqueued() -> None:
    assert set(_enqueued()) == set(_tasks())
    assert _tasks()


def test_jobs_have_dotted_names() -> None:
    for name in _tasks():
        room, _, verb = name.partition(".")
        assert room.replace("_", "").isalpha()
        assert verb.replace("_", "").isalpha()
        assert name == name.lower()


def test_every_module_with_tasks_is_loaded_by_the_app() -> None:
    paths = {f"{name.replace('.', '/')}.py" for name in app.TASKS}

    assert paths == set(_tasks().values())


def test_every_command_is_found_by_its_own_name() -> None:
    commands = app.cli.Commands(app.COMMANDS)
    context = click.Context(commands)

    names = commands.list_commands(context)

    found = [commands.get_command(context, name) for name in names]
    assert names == [command and command.name for command in found]
    assert names
    assert commands.get_command(context, "nobody") is None


def test_a_program_does_without_the_commands_the_queues_worker_and_what_moves_archives(
    loaded_modules: frozenset[str],
) -> None:
    commands = {path.partition(":")[0] for path in app.COMMANDS.values()}

    assert loaded_modules.isdisjoint(
        {*commands, "procrastinate", "psycopg", "vca.tenancy.archive_writer"}
    )
    assert set(app.TASKS) <= loaded_modules


def test_nothing_but_the_kit_touches_the_queue() -> None:
    outside = [
        f"{where.location_of(node)} {imported}"
        for where in source_modules(roots=("vca",))
        for imported, node in where.imports()
        if imported.split(".")[0] == "procrastinate" and where.path != "vca/jobs/worker_loop.py"
    ]

    assert outside == []


# --- Migrations ------------------------------------------------------------------------------


def _scripts(tree: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(ROOT / tree))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_of_migrations_has_one_head(tree: str) -> None:
    assert len(_scripts(tree).get_heads()) == 1


@pytest.mark.parametrize("tree", TREES)
def test_revisions_are_numbered_in_their_files_names_without_a_gap(tree: str) -> None:
    files = sorted((ROOT / tree / "versions").glob("*.py"))
    scripts = {script.revision: script for script in _scripts(tree).walk_revisions()}
    numbers = [f"{number:04}" for number in range(1, len(files) + 1)]

    assert [path.name.partition("_")[0] for path in files] == numbers
    assert sorted(scripts) == numbers
    for path, before in zip(files, [None, *numbers], strict=False):
        number = path.name.partition("_")[0]
        assert scripts[number].path == str(path)
        assert scripts[number].down_revision == before


@pytest.mark.parametrize("tree", TREES)
def test_every_revision_says_what_it_is_for_and_goes_only_forward(tree: str) -> None:
    for script in _scripts(tree).walk_revisions():
        assert script.doc
        assert not hasattr(script.module, "downgrade"), script.path


# --- The app's own tables --------------------------------------------------------------------


def test_every_file_of_routes_hangs_in_the_app() -> None:
    files = {
        where.path
        for where in source_modules(roots=("vca",))
        if any(called == "Blueprint" for called, _ in where.calls())
    }

    assert {f"{blp.import_name.replace('.', '/')}.py" for blp in app.FEATURES} == files


def test_every_file_of_commands_hangs_in_the_app() -> None:
    files = {
        where.path
        for where in source_modules(roots=("vca",))
        if any(
            called in ("cli.Group", "click.command") and where.path != "vca/cli.py"
            for called, _ in where.calls()
        )
    }

    commands = app.cli.Commands(app.COMMANDS)
    context = click.Context(commands)
    groups = [commands.get_command(context, name) for name in commands.list_commands(context)]
    lazy = [
        path for group in groups if isinstance(group, app.cli.Group) for path in group.lazy.values()
    ]
    paths = [*app.COMMANDS.values(), *lazy]
    assert {f"{path.partition(':')[0].replace('.', '/')}.py" for path in paths} == files
