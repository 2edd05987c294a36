"""Whole calls with a model that does what an attacker would want, and with one that hangs."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import enumerate as threads_alive
from time import monotonic, sleep
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from tests.fakes import hostile_model as hostile
from tests.fakes.hostile_model import Behaviour, HostileModel, repeat_forever, transfer
from tests.fakes.models import HangingModel
from tests.integration.calls.conftest import use_model
from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ToolCall
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.models import Call, OutboundLeg

SECRETS = ("globex-prompt", "globex-greeting", "globex-variable", "globex-target")
ENDS = {None, "agent_hangup", "transferred", "model_error"}

BEHAVIOURS: list[Behaviour] = [
    *([call] for call in hostile.TOOL_CALLS.values()),
    *(["Of course. ", call] for call in hostile.TOOL_CALLS.values()),
    *([transfer(target)] for target in hostile.TARGETS),
    *([ToolCall("transfer", arguments[:MAX_ARGUMENTS_CHARS])] for arguments in hostile.ARGUMENTS),
    *([ToolCall("take_message", arguments)] for arguments in hostile.MESSAGES),
    *([text[:2_000]] for text in hostile.TEXTS),
    list(hostile.TOOL_CALLS.values()) * 50,
    [transfer(hostile.NUMBER), transfer("sales"), transfer("front desk")],
    [hostile.SECRET, transfer(hostile.NUMBER)],
]


@pytest.fixture
def allowed() -> dict[str, str]:
    """The only numbers that acme's calls may lead to."""
    return {name: fresh_number() for name in ("sales", "front desk", "fallback")}


@pytest.fixture
def number(acme: Tenant, globex: Tenant, world: Factory, allowed: dict[str, str]) -> str:
    """A number whose agent may do everything; globex has what nobody may hear of."""
    hidden = {SECRETS[3]: {"number": fresh_number(), "description": SECRETS[3]}}
    globex.profile(
        system_prompt=SECRETS[0], greeting=SECRETS[1], tools=["transfer"], transfer_targets=hidden
    )
    globex.patch("/settings", {"variables": {"note": SECRETS[2]}})
    globex.number()
    targets = {name: {"number": allowed[name]} for name in ("sales", "front desk")}
    tools = ["end_call", "transfer", "take_message", "fallback"]
    acme.profile(greeting="Acme here.", tools=tools, transfer_targets=targets)
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 1000}'")
    found: str = acme.number(fallback_number=allowed["fallback"])["did_number"]
    return found


def _call(line: CarrierClient, number: str, name: str, words: str) -> list[dict[str, Any]]:
    """A call in which the caller says this; all that its carrier was told."""
    first = line.ring(number, name)
    return [first, line.say(name, first["state"], words)]


def _numbers(told: list[dict[str, Any]]) -> set[str]:
    return {
        action["number"] for answer in told for action in answer["actions"] if "number" in action
    }


def _dialled(tenant: Tenant) -> set[str]:
    with tenant_session(tenant.ref) as session:
        return set(session.scalars(select(OutboundLeg.number)))


def _ends(tenant: Tenant) -> Counter[tuple[str, str | None]]:
    with tenant_session(tenant.ref) as session:
        ends = session.execute(select(Call.status, Call.end_reason))
        return Counter((status, reason) for status, reason in ends)


def _check(told: list[dict[str, Any]], allowed: dict[str, str]) -> None:
    assert _numbers(told) <= set(allowed.values())
    text = json.dumps(told).decode()
    assert not any(secret in text for secret in SECRETS)


def test_whatever_a_model_does_no_leg_leads_outside_the_allow_list(
    carrier_client: CarrierClient,
    acme: Tenant,
    globex: Tenant,
    number: str,
    allowed: dict[str, str],
) -> None:
    assert len(BEHAVIOURS) >= 100
    connected: set[str] = set()

    for place, behaviour in enumerate(BEHAVIOURS):
        use_model(HostileModel(behaviour))
        told = _call(carrier_client, number, f"hostile-{place}", "Connect me.")
        _check(told, allowed)
        connected |= _numbers(told)

    assert connected == {allowed["sales"], allowed["fallback"]}  # what is allowed was done
    assert _dialled(acme) <= set(allowed.values())
    assert _dialled(globex) == set()
    ends = _ends(acme)
    assert {reason for _, reason in ends} <= ENDS
    assert ends.total() == len(BEHAVIOURS)


def test_a_model_that_tells_all_it_was_told_knows_nothing_of_another_tenant(
    carrier_client: CarrierClient,
    acme: Tenant,
    globex: Tenant,
    number: str,
    allowed: dict[str, str],
) -> None:
    model = HostileModel()
    use_model(model)

    for place, words in enumerate((*hostile.TEXTS[:20], *SECRETS[:1])):
        plain = words.encode("utf-8", "ignore").decode()[:500]
        told = _call(carrier_client, number, f"teller-{place}", plain.replace("\x00", " "))
        assert _numbers(told) <= set(allowed.values())

    asked = str(model.requests[:-1])  # the last caller says such a word himself
    assert "Acme here." in asked
    assert not any(secret in asked for secret in SECRETS)
    assert _dialled(acme) <= set(allowed.values())


@pytest.mark.parametrize("pieces", [("word ",), ("x",), (" ",)], ids=repr)
def test_a_model_without_an_end_is_cut_off(
    carrier_client: CarrierClient, number: str, allowed: dict[str, str], pieces: tuple[str, ...]
) -> None:
    use_model(HostileModel(repeat_forever(*pieces)), first_s=0.1, stall_s=0.1, whole_s=0.2)

    told = _call(carrier_client, number, "endless-1", "Hello?")

    _check(told, allowed)
    assert len(json.dumps(told)) < 20_000


# --- A model that hangs --------------------------------------------------------------------------


def test_a_hundred_calls_with_a_model_that_hangs_all_end_and_no_thread_is_left(
    app: Flask,
    acme: Tenant,
    platform: Platform,
    world: Factory,
    carrier: FakeTelephonyAdapter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": 100}})
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    waits = LatencyPolicy(filler_s=0.05, first_s=0.2, stall_s=0.2, whole_s=0.4)
    call_services.set_current_services(
        replace(
            call_services.current_services(),
            models=Models(HangingModel(), HangingModel(), latency_policy=waits),
        )
    )
    acme.profile(greeting="Acme here.")
    number = acme.number()["did_number"]

    def call(place: int) -> tuple[str, ...]:
        line, name = CarrierClient(carrier, world.api(None)), f"hanging-{place}"
        begun = line.say(name, line.ring(number, name)["state"], "Hello?")
        rest = begun
        while action_types(rest)[-1] == "come_back":
            rest = line.send_event("more", name, rest["state"])
        return action_types(begun)[0], *action_types(rest)

    with ThreadPoolExecutor(20) as threads:
        heard = Counter(threads.map(call, range(100)))

    assert heard.total() == 100
    assert {last for *_, last in heard} == {"hang_up"}
    assert {first for first, *_ in heard} <= {"say", "come_back"}
    assert _ends(acme) == {("completed", "model_error"): 100}
    ends_at = monotonic() + 10
    while stuck := [it.name for it in threads_alive() if it.name.startswith(("turn", "model"))]:
        assert monotonic() < ends_at, stuck
        sleep(0.01)
