"""What every command shares: `--json` is one document, an expected error one sentence."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, NoReturn, TypeVar

import click
import marshmallow
from flask import current_app
from flask.cli import AppGroup

from vca.kit import db, deeds, json, log
from vca.kit.deeds import Actor, Deed
from vca.kit.errors import DomainError
from vca.kit.paging import Page, PageRequest

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class Commands(AppGroup):
    """The app's commands, each imported when it is called: a web server and the others need none.

    `paths` are `module:command` by the command's name.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        super().__init__()
        self._paths = paths

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._paths)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._paths:
            return None
        module, _, attribute = self._paths[cmd_name].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found


class Group(AppGroup):
    """A command group whose expected failures are one sentence and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        log.configure("warning", stream=sys.stderr)
        deed = Deed(Actor("command_line"), str(self.name), of_each=True)
        try:
            with db.patience(60), deeds.performing(deed):
                return super().invoke(ctx)
        except DomainError as error:
            fail(sentence(error))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        if (deed := deeds.current()) is not None:
            deed.operation = f"{self.name} {found[0]}"
        return found


def fail(message: str) -> NoReturn:
    """End the command with one sentence on stderr."""
    raise click.ClickException(message)


def sentence(error: DomainError) -> str:
    """An expected error as a person at a terminal wants it."""
    fields = "; ".join(f"{field.pointer.lstrip('/')}: {field.detail}" for field in error.errors)
    hint = "`make run` or `flask db start` starts it." if _is_ours(error) else ""
    return " ".join(part for part in (error.detail, fields, hint) if part)


def _is_ours(error: DomainError) -> bool:
    """Whether the database is away, and is the embedded one."""
    away = isinstance(error, db.DatabaseUnavailable)
    return away and current_app.extensions["settings"].embedded_folder is not None


def bounded(command: Command) -> Command:
    """For a command outside a group: the same manners."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            with db.patience(60):
                return command(*args, **kwargs)
        except DomainError as error:
            fail(sentence(error))

    return run  # type: ignore[return-value] # same signature


def loaded(schema: marshmallow.Schema, given: Mapping[str, Any]) -> Any:
    """Input checked as the API checks it; what is wrong ends the command with the field named."""
    try:
        return schema.load({name: value for name, value in given.items() if value is not None})
    except marshmallow.ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow
        fail("; ".join(f"{name}: {' '.join(map(str, said))}" for name, said in messages.items()))


def pages(fetch: Callable[[PageRequest], Page]) -> Iterator[Any]:
    """Every item of a paged list."""
    page: PageRequest | None = PageRequest(100)
    while page is not None:
        found = fetch(page)
        yield from found.items
        page = PageRequest(100, found.next_after) if found.next_after else None


def emit(value: Any, *, as_json: bool, text: str = "") -> None:
    """Print the value as one JSON document, or the text for people."""
    click.echo(json.dumps(value).decode() if as_json else text)


def table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Rows under their column names; a word says when there are none."""
    names = list(columns)
    cells = [[_cell(row[name]) for name in names] for row in rows]
    if not cells:
        return "(none)"
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    lines = [names, *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def card(item: Mapping[str, Any]) -> str:
    """One thing, a line for each of its fields."""
    width = max(len(name) for name in item)
    return "\n".join(f"{name.ljust(width)}  {_cell(value)}" for name, value in item.items())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else str(value)
