"""Logs: one JSON object a line, whatever happens, and nothing in it that must not leak."""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
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
from vca.tenant.calls.core import call_services


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Everything that is logged, as a person sees it who asked for the most."""
    stream = io.StringIO()
    log.configure("debug", stream=stream)
    yield stream
    log.configure("info")


def _read(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line as the JSON object that it must be."""
    read = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all(isinstance(line, dict) and line["event"] and line["level"] for line in read)
    return read


class _Failing(ScriptedModel):
    """A model that gives no answer, and says why in words that no log may hold."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def stream(self, request: Any) -> Any:
        raise ModelError(self._words, failure="unavailable")


# --- The canary ------------------------------------------------------------------------------


class _Canaries:
    """Words that stand in no log, whatever is done with them."""

    def __init__(self) -> None:
        self.numbers = [fresh_number() for _ in range(6)]
        self.words = {
            name: f"canary{name}{uuid4().hex}"
            for name in ("prompt", "greeting", "said", "sentence", "label", "failure", "code")
        }

    def found_in(self, output: str, more: list[str]) -> list[str]:
        digits = [number[1:] for number in self.numbers]
        return [canary for canary in [*digits, *self.words.values(), *more] if canary in output]


def _live_through_everything(
    app: Flask,
    world: Factory,
    acme: Tenant,
    carrier: FakeTelephonyAdapter,
    line: CarrierClient,
    canaries: _Canaries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words, numbers = canaries.words, canaries.numbers
    profile = {"system_prompt": words["prompt"], "greeting": words["greeting"]}
    acme.profile(**profile, transfer_targets={"desk": {"number": numbers[0]}})
    acme.patch("/settings", {"sentences": {"closed": words["sentence"]}})
    acme.number(did_number=numbers[1], label=words["label"])
    acme.number(did_number=numbers[2], mode="forward", forward_to=numbers[3])
    carrier.fail_next(TelephonyError(f"{numbers[1]} {words['failure']}", permanent=False))
    world.run_jobs(acme)
    state = line.ring(numbers[1], "call", numbers[4])["state"]
    line.say("call", state, f"My name is {words['said']}, call {numbers[4]}.")
    _fail_at_the_model(app, line, state, words)
    line.send_status("call", "failed", state=state, code=words["code"])
    line.ring(numbers[2], "call-2", numbers[4])
    line.ring(numbers[5], "call-3", numbers[4])
    # Refused in every way there is.
    acme.post("/phone-numbers", {"did_number": numbers[1]})
    acme.post("/phone-numbers", {"did_number": numbers[1], "label": [words["label"]]})
    acme.post("/ai-profiles", {"system_prompt": words["prompt"], words["said"]: 1})
    acme.get(f"/phone-numbers/{numbers[1]}")
    acme.api.get(f"/{numbers[1]}/{acme.key}")
    acme.get("/calls", caller_number=numbers[4], cursor=words["code"])
    world.api(acme.key[:-1] + "x").get("/api/me")
    forged = carrier.signed_request("voice", BASE_PATH, call_id=words["code"], to=numbers[1])
    line.send(CarrierRequest("voice", forged.url, {SIGNATURE_HEADER: words["code"]}, forged.body))
    _crash(app, acme, words, numbers, monkeypatch)
    _refuse_in_the_database(acme, words, numbers)


def _fail_at_the_model(app: Flask, line: CarrierClient, state: str, words: dict[str, str]) -> None:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(_Failing(words["failure"])))
    )
    line.say("call", state, f"Are you there, {words['said']}?")


def _crash(
    app: Flask,
    acme: Tenant,
    words: dict[str, str],
    numbers: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{words['said']} {numbers[1]} {acme.key}")

    monkeypatch.setattr(service, "list_calls", crash)
    headers = {"Authorization": f"Bearer {acme.key}"}
    assert app.test_client().get(acme.url("/calls"), headers=headers).status_code == 500


def _refuse_in_the_database(acme: Tenant, words: dict[str, str], numbers: list[str]) -> None:
    """The server's message quotes the row."""
    change = text("UPDATE phone_numbers SET mode = 'odd' WHERE label = :label")
    with pytest.raises(DBAPIError) as refused, tenant_session(acme.ref) as session:
        session.execute(change, {"label": words["label"]})
    assert numbers[1] in str(refused.value)
    log.get_logger().error("refused", exc_info=refused.value)
    logging.getLogger("elsewhere").error("refused", exc_info=refused.value)


def test_no_number_word_key_or_secret_reaches_the_log_at_its_most_talkative(
    app: Flask,
    settings: Settings,
    world: Factory,
    acme: Tenant,
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
    lines: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canaries, line = _Canaries(), CarrierClient(carrier, anonymous)

    _live_through_everything(app, world, acme, carrier, line, canaries, monkeypatch)

    events = {entry["event"] for entry in _read(lines)}
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
    assert canaries.found_in(lines.getvalue(), secrets) == []


def test_every_request_is_one_line_with_its_ids(
    acme: Tenant, anonymous: Api, lines: io.StringIO
) -> None:
    acme.api.send("GET", acme.url("/calls"), headers={"X-Request-Id": "request-of-acme"})
    anonymous.get("/livez")
    anonymous.get("/nowhere")

    requests = [entry for entry in _read(lines) if entry["event"] == "request"]
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


def test_the_lines_of_a_call_bear_its_id(
    world: Factory, acme: Tenant, carrier: FakeTelephonyAdapter, lines: io.StringIO
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    line = CarrierClient(carrier, world.api(None))

    state = line.ring(number, "logged-1")["state"]
    line.send_status("logged-1", "completed", state=state)

    [call] = acme.get("/calls").json
    told = {entry["event"]: entry for entry in _read(lines) if "call_id" in entry}
    assert told["call.begun"]["call_id"] == told["call.ended"]["call_id"] == call["id"]
    assert told["call.ended"]["end_reason"] == "caller_hangup"


# --- Lines -----------------------------------------------------------------------------------


def test_whatever_is_logged_is_one_line_of_json(lines: io.StringIO) -> None:
    circle: list[Any] = []
    circle.append(circle)
    odd: list[Any] = [
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
        circle,
    ]
    for value in odd:
        log.get_logger().info("odd", value=value)
        logging.getLogger("library").warning("odd %r", value)

    assert len(_read(lines)) == 2 * len(odd)


def test_values_are_bounded(lines: io.StringIO) -> None:
    log.get_logger().info("long", value="x" * 100_000)

    [entry] = _read(lines)
    assert len(entry["value"]) == log.MAX_VALUE_LENGTH + 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+14155550100", "+14•••0100"),
        ("from +442079460123 to +14155550100.", "from +44•••0123 to +14•••0100."),
        ("vca_0123abcd_" + "x" * 32 + "_abcdef", "vca_0123abcd…"),
        ("1+1", "1+1"),
        ("no vca_ here", "no vca_ here"),
    ],
)
def test_numbers_are_masked_and_keys_cut_wherever_they_stand(text: str, shown: str) -> None:
    assert log.redact(text) == shown


def test_libraries_write_the_same_kind_of_line(lines: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="a-request")
    logging.getLogger("library.part").warning("called %s", "+14155550100")
    structlog.contextvars.clear_contextvars()

    [entry] = _read(lines)
    assert (entry["event"], entry["logger"]) == ("called +14•••0100", "library.part")
    assert (entry["level"], entry["request_id"]) == ("warning", "a-request")


def test_an_exception_is_told_by_type_and_place_never_by_its_words(lines: io.StringIO) -> None:
    try:
        try:
            raise KeyError("what a caller said")
        except KeyError as error:
            raise ValueError("a secret") from error
    except ValueError as error:
        log.get_logger().error("failed", exc_info=error)
        logging.getLogger("library").exception("failed")

    assert "secret" not in lines.getvalue()
    assert "caller said" not in lines.getvalue()
    for entry in _read(lines):
        assert entry["error"]["type"] == "ValueError"
        assert entry["error"]["cause"]["type"] == "KeyError"
        assert re.search(r"test_log\.py:\d+ test_an_exception", entry["error"]["at"][-1])


def test_debug_adds_the_traceback_and_nothing_else_does() -> None:
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

    without, with_it = _read(stream)
    assert "traceback" not in without
    assert "ZeroDivisionError: division by zero" in with_it["traceback"]


def test_the_level_is_kept() -> None:
    stream = io.StringIO()
    log.configure("warning", stream=stream)
    log.get_logger().info("unheard")
    logging.getLogger("library").info("unheard")
    log.get_logger().warning("heard")
    log.configure("info")

    assert [entry["event"] for entry in _read(stream)] == ["heard"]


def test_an_alarm_is_critical_and_says_so(lines: io.StringIO) -> None:
    log.alarm("isolation.fence", tenant_id="a")

    [entry] = _read(lines)
    assert (entry["level"], entry["alarm"]) == ("critical", True)
