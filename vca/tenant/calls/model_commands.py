"""`flask models`: check the language models."""

from dataclasses import asdict
from typing import Any

import click

from vca import cli
from vca.conversation.llm import ModelCheck
from vca.kit.db import DatabaseFailure
from vca.registry.model_checks import service as model_checks
from vca.services import current_services

models = cli.Group("models", help="Check the language models.")

_FEATURES = (
    "stream_options",
    "temperature",
    "tools",
    "tool_choice",
    "nullable_types",
    "additional_properties",
    "system_role",
    "tool_role",
)
_COLUMNS = ("model", "answers", *_FEATURES, "server", "message")


@models.command("check", short_help="Ask each model what it supports.")
@cli.as_json
def check(as_json: bool) -> None:
    """Ask every model of the settings a few words, and print what its server accepts.

    The requests contain nothing of a tenant. VCA adapts its requests to the result. Exit status 1
    if a model cannot answer.
    """
    current_models = current_services().models
    rows = []
    for client, model in current_models.names():
        result = client.check(model)
        rows.append(_to_row(result))
        try:
            model_checks.save(client, result, services=current_services())
        except DatabaseFailure:
            click.echo("The result was not stored: the database is unavailable.", err=True)
    failed_count = sum(not row["answers"] for row in rows)
    cli.print_result(
        {"models": rows, "failed": failed_count},
        as_json=as_json,
        text=cli.format_table([_to_text_row(row) for row in rows], _COLUMNS),
    )
    if failed_count:
        raise SystemExit(1)


def _to_row(result: ModelCheck) -> dict[str, Any]:
    failure = result.failure
    return {
        "model": result.model,
        "answers": result.support is not None,
        "support": None if result.support is None else asdict(result.support),
        "status": failure and failure.server_status,
        "code": failure and (failure.server_code or failure.failure),
        "message": failure and failure.server_message,
    }


def _to_text_row(row: dict[str, Any]) -> dict[str, Any]:
    support = row["support"] or {}
    server = " ".join(str(row[name]) for name in ("status", "code") if row[name] is not None)
    return {
        "model": row["model"],
        "answers": _word(row["answers"]),
        **{name: _word(support.get(name, "")) for name in _FEATURES},
        "server": server,
        "message": row["message"] or "",
    }


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
