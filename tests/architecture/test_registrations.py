"""Registrations are complete: contract suites, tasks, commands, blueprints and revisions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask

from tests.support.ast_index import (
    ROOT,
    Function,
    SourceModule,
    dotted_name,
    source_module,
    source_modules,
)
from vca import app, cli
from vca.conversation.llm import MODEL_CLIENTS
from vca.jobs import lanes, queue
from vca.telephony.providers import ADAPTERS

MIGRATION_TREES = ("migrations", "tenant_migrations")


# --- Contracts -------------------------------------------------------------------------------


def _tested_classes(contract: str) -> set[str]:
    """Return the names that modules with a subclass of the contract suite import."""
    imported: set[str] = set()
    for module in (
        module for module in source_modules(roots=("tests",)) if contract in module.text
    ):
        bases = [
            dotted_name(base).rpartition(".")[2]
            for node in module.nodes()
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
            for base in node.bases
        ]
        if contract in bases:
            imported |= {name for name, _ in module.imports()}
    return imported


@pytest.mark.parametrize(
    ("contract", "path"),
    [
        *(("TelephonyContract", path) for path in ADAPTERS.values()),
        *(("ModelContract", path) for path in MODEL_CLIENTS.values()),
    ],
)
def test_every_implementation_of_a_contract_has_a_test_suite(contract: str, path: str) -> None:
    assert path.replace(":", ".") in _tested_classes(contract)


# --- Jobs ------------------------------------------------------------------------------------


def _string_constants(module: SourceModule) -> dict[str, str]:
    """Return the constants with strings that a module defines."""
    return {
        target.id: node.value.value
        for node in module.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _string_names(module: SourceModule) -> dict[str, str]:
    """Return the constants with strings that a module defines or imports from the product."""
    strings = _string_constants(module)
    for imported, _ in module.imports():
        imported_module, _, name = imported.rpartition(".")
        path = f"{imported_module.replace('.', '/')}.py"
        if imported_module.startswith("vca.") and (ROOT / path).is_file():
            constants = _string_constants(source_module(path))
            strings |= {name: constants[name]} if name in constants else {}
    return strings


def _tasks() -> dict[str, str]:
    """Return the name of each task and the path of the module that registers it."""
    return {
        _task_name(module, name): module.path
        for module in source_modules()
        for function_name, node in module.calls()
        if function_name == "queue.task"
        for name in node.args[:1]
    }


def _task_name(module: SourceModule, name: ast.expr) -> str:
    """Return the string of a literal or of a constant's name."""
    if isinstance(name, ast.Name):
        return _string_names(module)[name.id]
    assert isinstance(name, ast.Constant)
    return str(name.value)


def _enqueued_jobs() -> dict[str, str]:
    """Return the name of each job that is enqueued, and a location that enqueues it."""
    jobs: dict[str, str] = {}
    for module in source_modules():
        strings = _string_names(module)
        for function in module.functions():
            for function_name, node in module.calls(function):
                if function_name == "queue.enqueue":
                    for name in _possible_strings(module, strings, function, node.args[1]):
                        jobs[name] = str(module.location_of(node))
    return jobs


def _possible_strings(
    module: SourceModule, strings: dict[str, str], function: Function, name: ast.expr
) -> Iterator[str]:
    """Yield every string that an expression may have. Resolve parameters from the calls."""
    parameters = [argument.arg for argument in function.args.args]
    match name:
        case ast.Constant(str(text)):
            yield text
        case ast.IfExp():
            yield from _possible_strings(module, strings, function, name.body)
            yield from _possible_strings(module, strings, function, name.orelse)
        case ast.Name(id=variable) if variable in strings:
            yield strings[variable]
        case ast.Name(id=variable) if variable in parameters:
            position = parameters.index(variable)
            for caller, calling_function, node in _calls_of(module, function):
                yield from _possible_strings(
                    caller, _string_names(caller), calling_function, node.args[position]
                )
        case _:
            raise AssertionError(f"{module.location_of(name)}: this job's name is no constant")


def _calls_of(
    module: SourceModule, function: Function
) -> Iterator[tuple[SourceModule, Function, ast.Call]]:
    """Yield the calls of a function, as `name` in its module and as `module.name` elsewhere."""
    for caller in source_modules():
        prefix = "" if caller.path == module.path else f"{Path(module.path).stem}."
        for calling_function in caller.functions():
            for function_name, node in caller.calls(calling_function):
                if function_name == f"{prefix}{function.name}":
                    yield caller, calling_function, node


def test_every_enqueued_job_has_a_task_and_every_task_is_enqueued() -> None:
    assert set(_enqueued_jobs()) == set(_tasks())
    assert _tasks()


# Lanes: `calls` if a caller waits; `deliveries` if the job waits for a server that is not ours;
# `batch` for work with our own database and store.
TASKS_BY_LANE = {
    "calls": {"calls.check", "calls.dial"},
    "deliveries": {
        "calls.analyse",
        "messages.mail",
        "phone_numbers.check",
        "phone_numbers.leave",
        "phone_numbers.register",
        "phone_numbers.unregister",
        "recordings.fetch",
        "webhooks.deliver",
        "webhooks.deliver_to_operator",
        "webhooks.tell",
    },
    "batch": {
        "calls.forget",
        "calls.forget_payloads",
        "calls.forget_simulated",
        "calls.render_fallbacks",
        "idempotency.sweep",
        "phone_numbers.count",
        "privacy.erase",
        "privacy.expire",
        "privacy.export",
        "privacy.reapply",
        "recordings.count",
        "recordings.sweep",
        "webhooks.forget",
    },
}


def test_every_task_is_in_the_lane_of_what_its_jobs_wait_for(bare_app: Flask) -> None:
    tasks_by_lane: dict[str, set[str]] = {name: set() for name in lanes.NAMES}
    for name, lane in queue.LANES_OF_TASKS.items():
        tasks_by_lane[lane].add(name)

    assert tasks_by_lane == TASKS_BY_LANE
    assert set(queue.LANES_OF_TASKS) == set(queue.TASKS)


def test_every_statement_that_enqueues_names_the_lane_of_the_task() -> None:
    """Without the lane, a job waits in the queue of earlier releases."""
    calls = [
        (str(module.location_of(node)), arguments)
        for module in source_modules(roots=("vca",))
        for node in module.strings()
        if isinstance(node.value, str)
        for arguments in re.findall(r"SELECT jobs\.enqueue\(\s*(\S+)", node.value)
    ]

    assert [call for call in calls if not re.fullmatch(r"%\(\w*lane\)s,", call[1])] == []
    assert len(calls) >= 4


def test_jobs_have_dotted_names() -> None:
    for name in _tasks():
        feature, _, verb = name.partition(".")
        assert feature.replace("_", "").isalpha()
        assert verb.replace("_", "").isalpha()
        assert name == name.lower()


def test_the_app_lists_the_module_of_every_task() -> None:
    paths = {f"{module.__name__.replace('.', '/')}.py" for module in app.feature_modules("tasks")}

    assert paths == set(_tasks().values())


def test_every_command_has_the_name_that_it_is_listed_under() -> None:
    commands = cli.Commands(app.COMMANDS)
    context = click.Context(commands)

    names = commands.list_commands(context)

    listed_commands = [commands.get_command(context, name) for name in names]
    loaded_commands = [command.load() for command in listed_commands if command]
    assert names == [command.name for command in loaded_commands]
    assert [command and command.get_short_help_str() for command in listed_commands] == [
        command.get_short_help_str() for command in loaded_commands
    ]
    assert names
    assert commands.get_command(context, "nobody") is None


def test_the_short_help_of_every_command_fits_into_a_line() -> None:
    commands = cli.Commands(app.COMMANDS)

    short_helps = dict(_short_helps(commands, click.Context(commands), ""))

    assert len(short_helps) >= 50
    assert [name for name, text in short_helps.items() if not 5 <= len(text) <= 45] == []


def _short_helps(
    group: click.Group, context: click.Context, prefix: str
) -> Iterator[tuple[str, str]]:
    """Yield the full name and the short help of each command, also of groups' commands."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{prefix}{name}", command.get_short_help_str(limit=1_000)
        if isinstance(command, cli.LazyCommand):
            command = command.load()
        if isinstance(command, click.Group):
            yield from _short_helps(command, context, f"{prefix}{name} ")


def test_a_program_does_not_load_commands_the_worker_or_archive_code(
    loaded_modules: frozenset[str],
) -> None:
    commands = {path.partition(":")[0] for path, _ in app.COMMANDS.values()}

    assert loaded_modules.isdisjoint(
        {*commands, "procrastinate", "psycopg", "vca.tenancy.archive_writer"}
    )
    assert {module.__name__ for module in app.feature_modules("tasks")} <= loaded_modules


_WORKER_MODULES = ("vca/jobs/worker_loop.py", "vca/jobs/lane_manager.py")


def test_only_the_worker_imports_procrastinate() -> None:
    imports = [
        f"{module.location_of(node)} {imported}"
        for module in source_modules(roots=("vca",))
        for imported, node in module.imports()
        if imported.split(".")[0] == "procrastinate" and module.path not in _WORKER_MODULES
    ]

    assert imports == []


# --- Migrations ------------------------------------------------------------------------------


def _scripts(tree: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(ROOT / tree))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


@pytest.mark.parametrize("tree", MIGRATION_TREES)
def test_a_migration_tree_has_one_head(tree: str) -> None:
    assert len(_scripts(tree).get_heads()) == 1


@pytest.mark.parametrize("tree", MIGRATION_TREES)
def test_the_file_names_number_the_revisions_without_a_gap(tree: str) -> None:
    files = sorted((ROOT / tree / "versions").glob("*.py"))
    scripts = {script.revision: script for script in _scripts(tree).walk_revisions()}
    revisions = [f"{revision:04}" for revision in range(100, 100 + len(files))]

    assert [path.name.partition("_")[0] for path in files] == revisions
    assert sorted(scripts) == revisions
    for path, previous in zip(files, [None, *revisions], strict=False):
        revision = path.name.partition("_")[0]
        assert scripts[revision].path == str(path)
        assert scripts[revision].down_revision == previous


@pytest.mark.parametrize("tree", MIGRATION_TREES)
def test_every_revision_has_a_docstring_and_no_downgrade(tree: str) -> None:
    for script in _scripts(tree).walk_revisions():
        assert script.doc
        assert not hasattr(script.module, "downgrade"), script.path


# --- The app -------------------------------------------------------------------------------


def test_the_app_lists_every_module_with_a_blueprint() -> None:
    files = {
        module.path
        for module in source_modules(roots=("vca",))
        if any(function_name == "Blueprint" for function_name, _ in module.calls())
    }

    paths = [module.__name__.replace(".", "/") for module in app.feature_modules("routes")]
    assert {f"{path}.py" for path in paths} == files


def test_the_app_lists_every_module_with_commands() -> None:
    files = {
        module.path
        for module in source_modules(roots=("vca",))
        if any(
            function_name in ("cli.Group", "click.command") and module.path != "vca/cli.py"
            for function_name, _ in module.calls()
        )
    }

    commands = cli.Commands(app.COMMANDS)
    context = click.Context(commands)
    names = commands.list_commands(context)
    groups = [command.load() for name in names if (command := commands.get_command(context, name))]
    lazy = [
        path for group in groups if isinstance(group, cli.Group) for path in group.lazy.values()
    ]
    paths = [*(path for path, _ in app.COMMANDS.values()), *lazy]
    assert {f"{path.partition(':')[0].replace('.', '/')}.py" for path in paths} == files
