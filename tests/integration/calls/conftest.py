"""Fixtures for call tests: a carrier of real callers, scripted models, and stored calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from flask import Flask

from tests.fakes.models import SequenceModel, Step
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant
from tests.support.services import use_carriers, use_services
from vca.conversation.llm import ModelClient
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.conversation.types import Tokens
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


class RealCallerCarrier(FakeTelephonyAdapter):
    """A fake carrier that is not simulated, for rules that apply to real callers only."""

    simulated: ClassVar[bool] = False


@pytest.fixture
def real_carrier(app: Flask, settings: Settings) -> RealCallerCarrier:
    """Install and return a carrier of real callers that has received no request."""
    adapter = RealCallerCarrier(f"fake-carrier|{settings.secret_key}")
    use_carriers(providers.Carriers(settings)).register(adapter)
    return adapter


@pytest.fixture
def carrier_client(real_carrier: RealCallerCarrier, anonymous: Api) -> CarrierClient:
    """Return a client that sends that carrier's webhooks."""
    return CarrierClient(real_carrier, anonymous)


def use_model(model: ModelClient, **latency: float) -> Models:
    """Make calls use this model. The keyword arguments are fields of LatencyPolicy."""
    # Only fields that are seconds.
    latency_policy = LatencyPolicy(**latency)  # type: ignore[arg-type]
    models = Models(model, latency_policy=latency_policy)
    use_services(models=models)
    return models


@pytest.fixture
def script_model(app: Flask) -> Callable[..., SequenceModel]:
    """Return a function that installs a model with one list of steps for each request."""

    def install_model(
        *step_lists: list[Step], tokens: Tokens | None = None, **latency: float
    ) -> SequenceModel:
        model = SequenceModel(*step_lists, tokens=tokens)
        use_model(model, **latency)
        return model

    return install_model


@dataclass(frozen=True)
class CallRecord:
    """The stored data of a tenant's only call."""

    tenant: Tenant

    @property
    def call(self) -> dict[str, Any]:
        [call] = self.tenant.get("/calls").json
        return dict(call)

    @property
    def end_state(self) -> tuple[str, str | None]:
        return self.call["status"], self.call["end_reason"]

    @property
    def turns(self) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = self.tenant.get(f"/calls/{self.call['id']}/turns").json
        return turns

    @property
    def transcript(self) -> list[str]:
        return [f"{turn['speaker']}: {turn['text']}" for turn in self.turns]

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.tenant.get("/messages").json
        return messages


@pytest.fixture
def call_record(acme: Tenant) -> CallRecord:
    """Return the stored data of acme's only call."""
    return CallRecord(acme)
