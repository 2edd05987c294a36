"""Checks of the language models: shared between processes, and shown to operators."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.fakes.models import StepModel
from tests.support import admin_db
from tests.support.api import Api
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services, use_services
from vca.conversation.llm import ModelCheck, ModelError
from vca.conversation.llm.model_support import FULL_SUPPORT, ModelSupport
from vca.conversation.llm.models import Models
from vca.kit import json
from vca.registry.model_checks import background
from vca.registry.model_checks import service as model_checks
from vca.tenancy.session import public_session

TOKEN = "a-token-of-the-test-suite-and-no-other"
NO_TOOLS = FULL_SUPPORT.without("tools")
INVALID_KEY = ModelError(
    "The model server responded with status 401 (invalid_api_key).",
    failure="refused",
    permanent=True,
    server_status=401,
    server_code="invalid_api_key",
    server_message="Incorrect API key provided: ….",
)


class CheckedModel(StepModel):
    """Has a result for each check, and stores the results of other processes' checks."""

    endpoint = "https://models.example.com/v1"

    def __init__(self, result: ModelSupport | ModelError, name: str = "parrot") -> None:
        super().__init__("Hello.", name=name)
        self.result = result
        self.checked_models: list[str] = []
        self.support = FULL_SUPPORT

    def check(self, model: str | None = None) -> ModelCheck:
        self.checked_models.append(model or self.name)
        if isinstance(self.result, ModelError):
            return ModelCheck(model or self.name, failure=self.result)
        self.support = self.result
        return ModelCheck(model or self.name, self.result)

    def known_support(self, model: str | None = None) -> ModelSupport:
        return self.support

    def set_support(self, model: str, support: ModelSupport) -> None:
        self.support = support


@pytest.fixture(autouse=True)
def _restore_models(app: Flask) -> Iterator[None]:
    services = app_services()
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.model_checks"))
    yield
    use_services(**vars(services))
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.model_checks"))


def _to_models(model: CheckedModel, fallback: CheckedModel | None = None) -> Models:
    return Models(model, fallback)


def use_models(*results: ModelSupport | ModelError) -> list[CheckedModel]:
    """Make the process use a model for each result, the second one as the fallback."""
    models = [CheckedModel(result, f"m{number}") for number, result in enumerate(results)]
    use_services(models=_to_models(*models))
    return models


def check_due(*models: CheckedModel, min_age: timedelta = timedelta(minutes=10)) -> None:
    services = replace(app_services(), models=_to_models(*models))
    model_checks.check_due_models(min_age=min_age, services=services)


def run_command(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["models", "check", *arguments])


def test_a_model_is_checked_once_by_all_processes_that_start_within_ten_minutes() -> None:
    processes = [CheckedModel(NO_TOOLS) for _ in range(8)]

    run_concurrently([partial(check_due, model) for model in processes])

    assert sum(len(model.checked_models) for model in processes) == 1


def test_a_check_before_the_database_is_upgraded_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_checks, "_START", "SELECT public.no_such_function(%(model)s)")

    with capture_logs() as logs:
        services = replace(app_services(), models=Models(StepModel()))
        is_checked = background.check_once(min_age=timedelta(0), services=services)

    assert not is_checked
    assert [line["event"] for line in logs] == ["model.check_failed"]


def test_a_process_that_does_not_check_adapts_to_the_stored_result() -> None:
    first, second = CheckedModel(NO_TOOLS), CheckedModel(FULL_SUPPORT)

    check_due(first)
    check_due(second)

    assert second.checked_models == []
    assert second.support == NO_TOOLS


def test_a_model_is_checked_again_when_its_last_check_is_old() -> None:
    model = CheckedModel(NO_TOOLS)
    check_due(model)

    check_due(model, min_age=timedelta(0))

    assert model.checked_models == ["parrot", "parrot"]


def test_the_same_model_of_another_endpoint_is_checked_separately() -> None:
    first, second = CheckedModel(NO_TOOLS), CheckedModel(FULL_SUPPORT)
    second.endpoint = "https://other.example.com/v1"

    check_due(first)
    check_due(second)

    assert second.checked_models == ["parrot"]
    with public_session(database=app_services().database) as session:
        [state] = model_checks.read_states(session, Models(second))
    assert state.support == FULL_SUPPORT


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([FULL_SUPPORT], "ok"),
        ([FULL_SUPPORT, FULL_SUPPORT.without("temperature")], "ok"),
        ([FULL_SUPPORT, NO_TOOLS], "no_tools"),
        ([FULL_SUPPORT, INVALID_KEY], "degraded"),
        ([INVALID_KEY, NO_TOOLS], "degraded"),
    ],
)
def test_the_health_check_tells_the_state_of_the_models_and_still_succeeds(
    anonymous: Api, results: list[ModelSupport | ModelError], status: str
) -> None:
    models = use_models(*results)
    assert anonymous.get("/healthz").json["models"] == "unchecked"

    check_due(*models)

    response = anonymous.get("/healthz")
    assert (response.status_code, response.json["models"]) == (200, status)


def test_a_gauge_tells_which_models_are_ready(app: Flask, anonymous: Api) -> None:
    app.config["METRICS_TOKEN"] = TOKEN
    models = use_models(FULL_SUPPORT, INVALID_KEY)
    check_due(*models)

    response = anonymous.send("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

    assert 'vca_model_ready{model="m0"} 1.0' in response.text
    assert 'vca_model_ready{model="m1"} 0.0' in response.text


def test_a_refused_key_is_one_error_line_and_the_process_goes_on() -> None:
    [model] = use_models(INVALID_KEY)

    with capture_logs() as log_lines:
        check_due(model)

    assert log_lines == [
        {
            "event": "model.not_ready",
            "log_level": "error",
            "model": "m0",
            "failure": "refused",
            "server_status": 401,
            "server_code": "invalid_api_key",
            "server_message": "Incorrect API key provided: ….",
        }
    ]


def test_the_command_prints_what_each_model_supports(app: Flask) -> None:
    use_models(FULL_SUPPORT, NO_TOOLS.without("tool_choice"))

    result = run_command(app)

    assert result.exit_code == 0, result.output
    header, *rows = [line.split() for line in result.stdout.splitlines() if "m" in line]
    assert header[:5] == ["model", "answers", "stream_options", "temperature", "tools"]
    assert [row[:6] for row in rows] == [
        ["m0", "yes", "yes", "yes", "yes", "named"],
        ["m1", "yes", "yes", "yes", "no", "required"],
    ]


def test_the_command_fails_if_a_model_cannot_answer(app: Flask, anonymous: Api) -> None:
    use_models(FULL_SUPPORT, INVALID_KEY)

    result = run_command(app, "--json")

    assert result.exit_code == 1
    output: dict[str, Any] = json.loads(result.stdout)
    assert output["failed"] == 1
    assert output["models"][0]["support"]["tool_choice"] == "named"
    assert output["models"][1] == {
        "model": "m1",
        "answers": False,
        "support": None,
        "status": 401,
        "code": "invalid_api_key",
        "message": "Incorrect API key provided: ….",
    }
    assert anonymous.get("/healthz").json["models"] == "degraded"


def test_a_profile_with_tools_on_a_model_without_them_is_saved_with_a_warning(
    world: Factory, acme: Tenant
) -> None:
    check_due(*use_models(NO_TOOLS))
    body = {"system_prompt": "Be kind.", "tools": ["end_call"]}

    created = acme.post("/ai-profiles", body)
    changed = acme.patch(f"/ai-profiles/{created.json['id']}", {"tools": ["take_message"]})
    without_tools = acme.patch(f"/ai-profiles/{created.json['id']}", {"tools": []})

    assert (created.status_code, changed.status_code) == (201, 200)
    for response in (created, changed):
        assert "does not support tools" in response.headers["X-Vca-Warning"]
    assert "X-Vca-Warning" not in without_tools.headers


def test_a_profile_on_a_model_with_tools_is_saved_without_a_warning(acme: Tenant) -> None:
    check_due(*use_models(FULL_SUPPORT))

    response = acme.post("/ai-profiles", {"system_prompt": "Be kind.", "tools": ["end_call"]})

    assert "X-Vca-Warning" not in response.headers
