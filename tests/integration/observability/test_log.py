"""Tests of the log: one JSON object on each line, and no personal data or secrets."""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import structlog
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.api import Api
from tests.support.carrier_client import BASE_PATH, CarrierClient
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services, use_services
from vca.conversation.llm import ModelError
from vca.conversation.llm.models import Models
from vca.devtools.scripted_model.model import ScriptedModel
from vca.kit import json
from vca.observability import log
from vca.settings import Settings
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import SIGNATURE_HEADER, FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenancy.session import tenant_session
from vca.tenant.calls import service


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    """Return a stream of everything that is logged, at the level `debug`."""
    stream = io.StringIO()
    log.configure("debug", stream=stream)
    yield stream
    log.configure("info")


def _read_entries(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines as JSON objects and check that each has an event and a level."""
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all(isinstance(line, dict) and line["event"] and line["level"] for line in entries)
    return entries


class _FailingModel(ScriptedModel):
    """A model that fails with a message that no log may contain."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def stream(self, request: Any) -> Any:
        raise ModelError(self._message, failure="unavailable")


# --- Personal data and secrets ---------------------------------------------------------------


class _Sentinels:
    """Phone numbers and texts that no log may contain."""

    def __init__(self) -> None:
        self.numbers = [fresh_number() for _ in range(6)]
        self.texts = {
            name: f"canary{name}{uuid4().hex}"
            for name in ("prompt", "greeting", "utterance", "sentence", "label", "failure", "code")
        }

    def find_in(self, output: str, secrets: list[str]) -> list[str]:
        """Return the numbers, texts and secrets that the output contains."""
        digits = [number[1:] for number in self.numbers]
        sentinels = [*digits, *self.texts.values(), *secrets]
        return [sentinel for sentinel in sentinels if sentinel in output]


def _use_all_features(
    app: Flask,
    world: Factory,
    acme: Tenant,
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
    sentinels: _Sentinels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts, numbers = sentinels.texts, sentinels.numbers
    profile = {"system_prompt": texts["prompt"], "greeting": texts["greeting"]}
    acme.profile(**profile, transfer_targets={"desk": {"number": numbers[0]}})
    acme.patch("/settings", {"sentences": {"closed": texts["sentence"]}})
    acme.number(did_number=numbers[1], label=texts["label"])
    acme.number(did_number=numbers[2], mode="forward", forward_to=numbers[3])
    carrier.fail_next(TelephonyError(f"{numbers[1]} {texts['failure']}", permanent=False))
    world.run_jobs(acme)
    state = carrier_client.ring(numbers[1], "call", numbers[4])["state"]
    carrier_client.say("call", state, f"My name is {texts['utterance']}, call {numbers[4]}.")
    _fail_in_the_model(app, carrier_client, state, texts)
    carrier_client.send_status("call", "failed", state=state, code=texts["code"])
    carrier_client.ring(numbers[2], "call-2", numbers[4])
    carrier_client.ring(numbers[5], "call-3", numbers[4])
    # Rejected requests.
    acme.post("/phone-numbers", {"did_number": numbers[1]})
    acme.post("/phone-numbers", {"did_number": numbers[1], "label": [texts["label"]]})
    acme.post("/ai-profiles", {"system_prompt": texts["prompt"], texts["utterance"]: 1})
    acme.get(f"/phone-numbers/{numbers[1]}")
    acme.api.get(f"/{numbers[1]}/{acme.key}")
    acme.get("/calls", caller_number=numbers[4], cursor=texts["code"])
    world.api(acme.key[:-1] + "x").get("/api/me")
    genuine_request = carrier.signed_request(
        "voice", BASE_PATH, call_id=texts["code"], to=numbers[1]
    )
    carrier_client.send(
        CarrierRequest(
            "voice", genuine_request.url, {SIGNATURE_HEADER: texts["code"]}, genuine_request.body
        )
    )
    _crash(app, acme, texts, numbers, monkeypatch)
    _fail_in_the_database(acme, texts, numbers)


def _fail_in_the_model(
    app: Flask, carrier_client: CarrierClient, state: str, texts: dict[str, str]
) -> None:
    use_services(models=Models(_FailingModel(texts["failure"])))
    carrier_client.say("call", state, f"Are you there, {texts['utterance']}?")


def _crash(
    app: Flask,
    acme: Tenant,
    texts: dict[str, str],
    numbers: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{texts['utterance']} {numbers[1]} {acme.key}")

    monkeypatch.setattr(service, "list_calls", crash)
    headers = {"Authorization": f"Bearer {acme.key}"}
    assert app.test_client().get(acme.url("/calls"), headers=headers).status_code == 500


def _fail_in_the_database(acme: Tenant, texts: dict[str, str], numbers: list[str]) -> None:
    """Log an error of the database server, whose message quotes the row."""
    update_sql = text("UPDATE phone_numbers SET mode = 'odd' WHERE label = :label")
    with (
        pytest.raises(DBAPIError) as error,
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.execute(update_sql, {"label": texts["label"]})
    assert numbers[1] in str(error.value)
    log.get_logger().error("refused", exc_info=error.value)
    logging.getLogger("elsewhere").error("refused", exc_info=error.value)


def test_the_debug_log_contains_no_number_text_key_or_secret(
    app: Flask,
    settings: Settings,
    world: Factory,
    acme: Tenant,
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
    log_stream: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentinels, carrier_client = _Sentinels(), CarrierClient(carrier, anonymous)

    _use_all_features(app, world, acme, carrier, carrier_client, sentinels, monkeypatch)

    events = {entry["event"] for entry in _read_entries(log_stream)}
    assert {
        "request",
        "request.crashed",
        "fake_carrier.asked",
        "call.begun",
        "call.ended",
        "call.model_failed",
        "call.missed_number",
        "carrier.signature_refused",
        "refused",
    } <= events
    secrets = [settings.secret_key, settings.api_key_peppers[0], acme.key, acme.key[13:40]]
    assert sentinels.find_in(log_stream.getvalue(), secrets) == []


def test_each_request_is_logged_as_one_line_with_its_ids(
    acme: Tenant, anonymous: Api, log_stream: io.StringIO
) -> None:
    acme.api.send("GET", acme.url("/calls"), headers={"X-Request-Id": "request-of-acme"})
    anonymous.get("/livez")
    anonymous.get("/nowhere")

    requests = [entry for entry in _read_entries(log_stream) if entry["event"] == "request"]
    assert [(entry["method"], entry["status"]) for entry in requests] == [
        ("GET", 200),
        ("GET", 200),
        ("GET", 404),
    ]
    assert requests[0]["request_id"] == "request-of-acme"
    assert requests[0]["tenant_id"] == acme.id
    assert requests[0]["key"] == acme.key[:12]
    assert "tenant_id" not in requests[1]
    assert "key" not in requests[2]
    assert all(entry["timestamp"].endswith("Z") for entry in requests)


def test_lines_about_a_call_have_its_id(
    world: Factory, acme: Tenant, carrier: FakeTelephonyAdapter, log_stream: io.StringIO
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    carrier_client = CarrierClient(carrier, world.api(None))

    state = carrier_client.ring(number, "logged-1")["state"]
    carrier_client.send_status("logged-1", "completed", state=state)

    [call] = acme.get("/calls").json
    entries = {entry["event"]: entry for entry in _read_entries(log_stream) if "call_id" in entry}
    assert entries["call.begun"]["call_id"] == entries["call.ended"]["call_id"] == call["id"]
    assert entries["call.ended"]["end_reason"] == "caller_hangup"


# --- Format of lines -------------------------------------------------------------------------


def test_any_value_is_logged_as_one_line_of_json(log_stream: io.StringIO) -> None:
    circular_list: list[Any] = []
    circular_list.append(circular_list)
    values: list[Any] = [
        "line\nbreak",
        "\ud800",
        "\x00",
        b"\xff",
        object(),
        {1: {2, 3}},
        {("a", "b"): 1},
        float("nan"),
        2**80,
        {"a": float("nan"), "b": 2**80},
        [None, True],
        circular_list,
    ]
    for value in values:
        log.get_logger().info("odd", value=value)
        logging.getLogger("library").warning("odd %r", value)

    assert len(_read_entries(log_stream)) == 2 * len(values)


def test_long_values_are_truncated(log_stream: io.StringIO) -> None:
    log.get_logger().info("long", value="x" * 100_000)

    [entry] = _read_entries(log_stream)
    assert len(entry["value"]) == log.MAX_VALUE_LENGTH + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+14155550100", "+14•••0100"),
        ("from +442079460123 to +14155550100.", "from +44•••0123 to +14•••0100."),
        ("vca_0123abcd_" + "x" * 32 + "_abcdef", "vca_0123abcd…"),
        ("1+1", "1+1"),
        ("no vca_ here", "no vca_ here"),
    ],
)
def test_numbers_and_keys_in_a_text_are_masked(text: str, expected: str) -> None:
    assert log.redact(text) == expected


def test_lines_of_libraries_have_the_same_format(log_stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="a-request")
    logging.getLogger("library.part").warning("called %s", "+14155550100")
    structlog.contextvars.clear_contextvars()

    [entry] = _read_entries(log_stream)
    assert (entry["event"], entry["logger"]) == ("called +14•••0100", "library.part")
    assert (entry["level"], entry["request_id"]) == ("warning", "a-request")


def test_an_exception_is_logged_with_type_and_position_but_no_message(
    log_stream: io.StringIO,
) -> None:
    try:
        try:
            raise KeyError("what a caller said")
        except KeyError as error:
            raise ValueError("a secret") from error
    except ValueError as error:
        log.get_logger().error("failed", exc_info=error)
        logging.getLogger("library").exception("failed")

    assert "secret" not in log_stream.getvalue()
    assert "caller said" not in log_stream.getvalue()
    for entry in _read_entries(log_stream):
        assert entry["error"]["type"] == "ValueError"
        assert entry["error"]["cause"]["type"] == "KeyError"
        assert re.search(r"test_log\.py:\d+ test_an_exception", entry["error"]["at"][-1])


def test_only_development_mode_logs_the_traceback() -> None:
    stream = io.StringIO()
    for development in (False, True):
        log.configure("info", development=development, stream=stream)
        with suppress(ZeroDivisionError):
            try:
                _ = 1 / 0
            except ZeroDivisionError:
                log.get_logger().exception("failed")
                raise
    log.configure("info")

    plain_entry, traceback_entry = _read_entries(stream)
    assert "traceback" not in plain_entry
    assert "ZeroDivisionError: division by zero" in traceback_entry["traceback"]


def test_events_below_the_level_are_not_logged() -> None:
    stream = io.StringIO()
    log.configure("warning", stream=stream)
    log.get_logger().info("unheard")
    logging.getLogger("library").info("unheard")
    log.get_logger().warning("heard")
    log.configure("info")

    assert [entry["event"] for entry in _read_entries(stream)] == ["heard"]


def test_an_alarm_is_critical_and_marked(log_stream: io.StringIO) -> None:
    log.alarm("isolation.fence", tenant_id="a")

    [entry] = _read_entries(log_stream)
    assert (entry["level"], entry["alarm"]) == ("critical", True)
