"""Fixtures for the usage of calls."""

from collections.abc import Callable

import pytest

from tests.fakes.models import SequenceModel
from tests.support.factories import Tenant, fresh_number

ScriptModel = Callable[..., SequenceModel]
GREETING = "Acme here."


@pytest.fixture
def number(acme: Tenant) -> str:
    """Return a number of acme that an agent with a transfer target answers."""
    targets = {"sales": {"number": fresh_number(), "description": "buys"}}
    acme.profile(greeting=GREETING, tools=["transfer", "end_call"], transfer_targets=targets)
    number: str = acme.number(fallback_number=fresh_number())["did_number"]
    return number
