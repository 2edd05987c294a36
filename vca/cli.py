"""Shared parts of all commands: JSON output, one-sentence errors, formatting."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pkgutil import resolve_name
from typing import Any, NoReturn, TypeVar

import click
import marshmallow
import psycopg2
from flask import current_app
from flask.cli import AppGroup, ScriptInfo
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from vca.audit import context
from vca.audit.context import Actor, AuditContext
from vca.kit import db, json, postgres_errors
from vca.kit.errors import DomainError
from vca.kit.paging import Page, PageRequest
from vca.observability import log

Command = TypeVar("Command", bound=Callable[..., Any])

# Undefined table, function, column or object, invalid schema name: the schema is of another
# release.
_UNDEFINED_STATES = ("42P01", "42883", "42703", "42704", "3F000")

_MAX_ERROR_LINES = 50
_MAX_LINE_CHARS = 2_000
# C0 and C1 control characters, and the line separators of Unicode.
_CONTROL_CHARS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class LazyCommand(click.Command):
    """A command whose module is imported when it is called; a list needs its short help only."""

    def __init__(self, name: str, path: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._path = path

    def load(self) -> click.Command:
        """Import the command."""
        command: click.Command = resolve_name(self._path)
        return command

    @override
    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        return self.load().make_context(info_name, args, parent, **extra)


class Commands(AppGroup):
    """The app's commands, each imported when called, so that other processes need not load it.

    `commands` maps a command's name to `module:command` and its short help.
    """

    def __init__(self, commands: Mapping[str, tuple[str, str]]) -> None:
        super().__init__()
        self._lazy_commands = {
            name: LazyCommand(name, path, short_help)
            for name, (path, short_help) in commands.items()
        }

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._lazy_commands)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> LazyCommand | None:
        return self._lazy_commands.get(cmd_name)


class Group(AppGroup):
    """A command group that reports expected failures in one sentence, with exit status 1.

    `lazy` maps names of further commands to `module:command`. They are imported when they are
    listed or called; use it for development commands, which production must not import.
    """

    def __init__(
        self, name: str, *, lazy: Mapping[str, str] | None = None, **attributes: Any
    ) -> None:
        super().__init__(name, **attributes)
        self.lazy = dict(lazy or {})

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.lazy])

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        command: click.Command = resolve_name(self.lazy[cmd_name])
        return command

    @override
    def invoke(self, ctx: click.Context) -> Any:
        log.configure("warning", stream=sys.stderr)
        audit_context = AuditContext(
            Actor("command_line"),
            str(self.name),
            hash_key=ctx.ensure_object(ScriptInfo).load_app().config["PEPPERS"][0],
            entry_per_resource=True,
        )
        with (
            _fail_on_expected_error(),
            db.statement_timeout_scope(60),
            context.audit_scope(audit_context),
        ):
            return super().invoke(ctx)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        resolved = super().resolve_command(ctx, args)
        if (audit_context := context.current_context()) is not None:
            audit_context.operation = f"{self.name} {resolved[0]}"
        return resolved


def app_extension(name: str) -> Any:
    """Return an extension of the current app, for commands of packages that do not know Flask."""
    return current_app.extensions[name]


def fail(message: str) -> NoReturn:
    """End the command with one sentence on stderr.

    Lines with very long values are cut. The last lines of a log can follow the sentence.
    """
    lines = message.splitlines()
    shortened_lines = [_shorten_line(line) for line in lines[:_MAX_ERROR_LINES]]
    if len(lines) > _MAX_ERROR_LINES:
        shortened_lines.append("…")
    raise click.ClickException("\n".join(shortened_lines))


def _shorten_line(line: str) -> str:
    return line if len(line) <= _MAX_LINE_CHARS else f"{line[:_MAX_LINE_CHARS]}…"


def format_error(error: DomainError) -> str:
    """Return an expected error as text for a terminal."""
    fields = "; ".join(f"{field.pointer.lstrip('/')}: {field.detail}" for field in error.errors)
    parts = (error.detail, fields, _embedded_hint(error) or _server_reason(error))
    return " ".join(part for part in parts if part)


def _embedded_hint(error: DomainError) -> str:
    """Return how to start the embedded server, if it is the one that is not responding."""
    is_unavailable = isinstance(error, db.DatabaseUnavailable)
    is_embedded = is_unavailable and current_app.config["USES_EMBEDDED_DATABASE"]
    return "Start it with `make run` or `flask db start`." if is_embedded else ""


def _server_reason(error: DomainError) -> str:
    """Return the server's or the driver's message for a database failure."""
    if isinstance(error, db.DatabaseFailure) and error.__cause__ is not None:
        return _describe_database_error(error.__cause__)
    return ""


@contextmanager
def _fail_on_expected_error() -> Iterator[None]:
    """End the command with one sentence for expected errors and database errors."""
    try:
        yield
    except DomainError as error:
        fail(format_error(error))
    except (DBAPIError, psycopg2.Error) as error:
        hint = ""
        if db.sqlstate(error) in _UNDEFINED_STATES:
            hint = "If the database was not upgraded to this release, run `flask db upgrade`."
        fail(" ".join(part for part in (_describe_database_error(error), hint) if part))


def _describe_database_error(error: BaseException) -> str:
    state = postgres_errors.sqlstate(error)
    code = f" (SQLSTATE {state})" if state else ""
    return f"{postgres_errors.message(error)}{code}."


def with_db_timeout(command: Command) -> Command:
    """Give a command outside a group the error handling and statement timeout of `Group`."""

    @wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> Any:
        with _fail_on_expected_error(), db.statement_timeout_scope(60):
            return command(*args, **kwargs)

    return run_command  # type: ignore[return-value] # same signature


def load_or_fail(schema: marshmallow.Schema, values: Mapping[str, Any]) -> Any:
    """Validate input as the API does; end the command with an error that names the field."""
    try:
        return schema.load({name: value for name, value in values.items() if value is not None})
    except marshmallow.ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow
        fail("; ".join(f"{name}: {text}" for name, text in _flatten_messages(messages)))


def _flatten_messages(messages: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of each error, also of those inside objects."""
    for name, part in messages.items():
        if isinstance(part, Mapping):
            yield from _flatten_messages(part, f"{path}{name}.")
        elif name in ("key", "value") and path:  # of an object with any names
            yield path.rstrip("."), " ".join(map(str, part))
        else:
            yield f"{path}{name}", " ".join(map(str, part))


def iterate_items(fetch_page: Callable[[PageRequest], Page]) -> Iterator[Any]:
    """Yield every item of a paginated list."""
    page: PageRequest | None = PageRequest(100)
    while page is not None:
        result = fetch_page(page)
        yield from result.items
        page = PageRequest(100, result.next_after) if result.next_after else None


def print_result(value: Any, *, as_json: bool, text: str = "") -> None:
    """Print the value as one JSON document, or the text for people."""
    click.echo(json.dumps(value).decode() if as_json else text)


def format_table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Format rows under their column names; `(none)` without rows."""
    names = list(columns)
    cells = [[_format_cell(row[name]) for name in names] for row in rows]
    if not cells:
        return "(none)"
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    lines = [names, *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def format_record(record: Mapping[str, Any]) -> str:
    """Format one record, one line per field."""
    width = max(len(name) for name in record)
    return "\n".join(
        f"{name.ljust(width)}  {_format_cell(value)}" for name, value in record.items()
    )


def _format_cell(value: Any) -> str:
    """Return a value as text in one line: a name with a line break would look like two rows."""
    if value is None:
        return "-"
    if hasattr(value, "isoformat"):
        return str(value.isoformat(timespec="seconds"))
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return _CONTROL_CHARS.sub("�", text)
