"""Calls of carriers whose callers are real, models that are told what to say, and the record."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from flask import Flask

from tests.doubles.models import Rehearsed, Step
from tests.support.api import Api
from tests.support.carrier_line import CarrierLine
from tests.support.world import Tenant
from vca.conversation.llm import ModelClient
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.conversation.types import Tokens
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.core import call_services

Uses = Callable[..., Models]


class RealCarrier(FakeTelephonyAdapter):
    """The fake carrier, for tests of what only counts where callers are real."""

    simulated: ClassVar[bool] = False


@pytest.fixture
def real(app: Flask, settings: Settings) -> RealCarrier:
    """A carrier of real callers, with nothing asked of it yet."""
    fresh = RealCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(fresh)
    return fresh


@pytest.fixture
def line(real: RealCarrier, anonymous: Api) -> CarrierLine:
    """That carrier's line into the product."""
    return CarrierLine(real, anonymous)


def use(model: ModelClient, **patience: float) -> Models:
    """Let this model answer from here on."""
    models = Models(model, latency_policy=LatencyPolicy(**patience))
    call_services.set_current_services(replace(call_services.current_services(), models=models))
    return models


@pytest.fixture
def says(app: Flask) -> Callable[..., Rehearsed]:
    """Let a model answer that says and does this, a list of steps for each question."""

    def rehearsed(
        *answers: list[Step], tokens: Tokens | None = None, **patience: float
    ) -> Rehearsed:
        model = Rehearsed(*answers, tokens=tokens)
        use(model, **patience)
        return model

    return rehearsed


@dataclass(frozen=True)
class Record:
    """What is on record of a tenant's only call."""

    tenant: Tenant

    @property
    def call(self) -> dict[str, Any]:
        [call] = self.tenant.get("/calls").json
        return dict(call)

    @property
    def end(self) -> tuple[str, str | None]:
        return self.call["status"], self.call["end_reason"]

    @property
    def turns(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.tenant.get(f"/calls/{self.call['id']}/turns").json
        return found

    @property
    def said(self) -> list[str]:
        return [f"{turn['speaker']}: {turn['text']}" for turn in self.turns]

    @property
    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.tenant.get("/messages").json
        return found


@pytest.fixture
def record(acme: Tenant) -> Record:
    return Record(acme)
