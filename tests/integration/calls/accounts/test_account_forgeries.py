"""Requests that another account or carrier signs are rejected, and nothing is written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import Any

import pytest
from flask import Flask

from tests.integration.calls.accounts.conftest import OTHER_CARRIER_BASE_PATH
from tests.support import admin_db
from tests.support.accounts import OTHER_CARRIER, OtherCarrier, OwnAccount, create_account
from tests.support.api import Api
from tests.support.carrier_client import BASE_PATH, CALLER, CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant, fresh_number
from tests.support.services import app_services
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest


@pytest.fixture
def db_snapshot(app: Flask) -> Iterator[SnapshotChecker]:
    """Return a reader of the database outside the product's sessions."""
    checker = SnapshotChecker(admin_db.database_url())
    yield checker
    checker.close()


@dataclass(frozen=True)
class LiveCalls:
    """Numbers and live calls of two tenants, on their accounts and on the deployment's account."""

    deployment_carrier: FakeTelephonyAdapter
    own_account: OwnAccount
    second_account: OwnAccount
    globex_account: OwnAccount
    own_number: str
    second_number: str
    deployment_number: str
    globex_number: str
    own_state: str
    deployment_state: str
    globex_state: str

    def build_carrier(self, account: OwnAccount) -> FakeTelephonyAdapter:
        """Return a carrier that signs with this account."""
        return FakeTelephonyAdapter(account.fields["secret"])


@pytest.fixture
def live_calls(
    acme: Tenant,
    globex: Tenant,
    carrier: FakeTelephonyAdapter,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    anonymous: Api,
) -> LiveCalls:
    globex.profile(greeting="Globex here.")
    second_account, globex_account = create_account(acme), create_account(globex)
    second_number = acme.number(**second_account.number_fields)["did_number"]
    deployment_number = acme.number()["did_number"]
    globex_number = globex.number(**globex_account.number_fields)["did_number"]
    return LiveCalls(
        carrier,
        own_account,
        second_account,
        globex_account,
        number["did_number"],
        second_number,
        deployment_number,
        globex_number,
        own_account.carrier_client(anonymous).ring(number["did_number"], "own-1")["state"],
        carrier_client.ring(deployment_number, "deployment-1")["state"],
        globex_account.carrier_client(anonymous).ring(globex_number, "globex-1")["state"],
    )


ForgeRequest = Callable[[LiveCalls], CarrierRequest]


def _forge_inbound_call(
    get_carrier: Callable[[LiveCalls], FakeTelephonyAdapter],
    get_number: Callable[[LiveCalls], str],
) -> ForgeRequest:
    """Return a function that builds the first request of an inbound call to this number."""
    fields = {"call_id": "forged-1", "from": CALLER}
    return lambda live_calls: get_carrier(live_calls).signed_request(
        "voice", BASE_PATH, to=get_number(live_calls), **fields
    )


def _forge_event(
    get_carrier: Callable[[LiveCalls], FakeTelephonyAdapter],
    get_state: Callable[[LiveCalls], str],
    action: str = "speech",
    **extra_fields: Any,
) -> ForgeRequest:
    """Return a function that builds a later request of the call with this state token."""
    fields = {"call_id": "own-1", "text": "Hello?", **extra_fields}
    return lambda live_calls: get_carrier(live_calls).signed_request(
        action, BASE_PATH, state=get_state(live_calls), **fields
    )


def _forge_event_without_state(
    get_carrier: Callable[[LiveCalls], FakeTelephonyAdapter],
    get_number: Callable[[LiveCalls], str],
    action: str,
    **fields: Any,
) -> ForgeRequest:
    """Return a function that builds a request that names acme's call by its id and this number."""
    return lambda live_calls: get_carrier(live_calls).signed_request(
        action, BASE_PATH, call_id="own-1", to=get_number(live_calls), **fields
    )


def _deployment_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.deployment_carrier


def _own_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.build_carrier(live_calls.own_account)


def _second_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.build_carrier(live_calls.second_account)


def _globex_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.build_carrier(live_calls.globex_account)


def _unknown_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return FakeTelephonyAdapter("a guess of sixteen")


def _altered_request(live_calls: LiveCalls) -> CarrierRequest:
    genuine_request = _own_carrier(live_calls).signed_request(
        "voice", BASE_PATH, call_id="forged-1", to=live_calls.own_number
    )
    return CarrierRequest(
        "voice", genuine_request.url, genuine_request.headers, genuine_request.body + b" "
    )


def _request_for_another_action(live_calls: LiveCalls) -> CarrierRequest:
    genuine_request = _own_carrier(live_calls).signed_request(
        "voice", BASE_PATH, call_id="own-1", state=live_calls.own_state
    )
    return CarrierRequest(
        "speech", f"{BASE_PATH}speech", genuine_request.headers, genuine_request.body
    )


def _unsigned_request(live_calls: LiveCalls) -> CarrierRequest:
    genuine_request = _own_carrier(live_calls).signed_request(
        "voice", BASE_PATH, call_id="forged-1", to=live_calls.own_number
    )
    return CarrierRequest("voice", genuine_request.url, {}, genuine_request.body)


_FINAL_STATUS = {"action": "status", "status": "completed"}
FORGERIES: dict[str, ForgeRequest] = {
    "acme's number, by the deployment": _forge_inbound_call(
        _deployment_carrier, attrgetter("own_number")
    ),
    "acme's number, by acme's other account": _forge_inbound_call(
        _second_carrier, attrgetter("own_number")
    ),
    "acme's number, by globex": _forge_inbound_call(_globex_carrier, attrgetter("own_number")),
    "acme's number, by an unknown secret": _forge_inbound_call(
        _unknown_carrier, attrgetter("own_number")
    ),
    "acme's number on the deployment, by acme": _forge_inbound_call(
        _own_carrier, attrgetter("deployment_number")
    ),
    "acme's number on the deployment, by globex": _forge_inbound_call(
        _globex_carrier, attrgetter("deployment_number")
    ),
    "globex's number, by acme": _forge_inbound_call(_own_carrier, attrgetter("globex_number")),
    "globex's number, by the deployment": _forge_inbound_call(
        _deployment_carrier, attrgetter("globex_number")
    ),
    "an unassigned number, by acme": _forge_inbound_call(
        _own_carrier, lambda live_calls: fresh_number()
    ),
    "acme's call, by the deployment": _forge_event(_deployment_carrier, attrgetter("own_state")),
    "acme's call, by acme's other account": _forge_event(_second_carrier, attrgetter("own_state")),
    "acme's call, by globex": _forge_event(_globex_carrier, attrgetter("own_state")),
    "the end of acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), **_FINAL_STATUS
    ),
    "keys in acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "keys", keys="1"
    ),
    "a poll of acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "more"
    ),
    "a leg of acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "leg", outcome="busy"
    ),
    "acme's call answered, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "answered"
    ),
    "acme's call interrupted, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "interrupted"
    ),
    "a voicemail of acme, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "voicemail", recording_id="x"
    ),
    "a recording of acme, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "recording", recording_id="x"
    ),
    "a call on the deployment, by acme": _forge_event(_own_carrier, attrgetter("deployment_state")),
    "globex's call, by acme": _forge_event(_own_carrier, attrgetter("globex_state")),
    "a false token, by acme": _forge_event(
        _own_carrier, lambda live_calls: f"{live_calls.own_state[:-3]}AAA"
    ),
    "the end of acme's call without a token, by the deployment": _forge_event_without_state(
        _deployment_carrier, attrgetter("own_number"), "status", status="completed"
    ),
    "the end of acme's call at another number, by that number's account": (
        _forge_event_without_state(
            _second_carrier, attrgetter("second_number"), "status", status="completed"
        )
    ),
    "acme's call repeated at another number, by that number's account": (
        _forge_event_without_state(_second_carrier, attrgetter("second_number"), "voice")
    ),
    "altered body": _altered_request,
    "signed for another action": _request_for_another_action,
    "unsigned": _unsigned_request,
}


def _take_snapshot(db_snapshot: SnapshotChecker, *tenants: Tenant) -> list[Any]:
    """Return the checksums of the tenants and the counts of unrouted calls and jobs."""
    unrouted_calls = db_snapshot.rows("SELECT count(*), sum(misses) FROM public.did_misses")
    jobs = db_snapshot.rows("SELECT count(*) FROM jobs.procrastinate_jobs")
    return [*(db_snapshot.checksum(tenant.id) for tenant in tenants), unrouted_calls, jobs]


@pytest.mark.parametrize("name", FORGERIES)
def test_a_request_signed_by_another_account_returns_403_and_writes_nothing(
    name: str,
    live_calls: LiveCalls,
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
) -> None:
    before = _take_snapshot(db_snapshot, acme, globex)

    response = carrier_client.send(FORGERIES[name](live_calls))

    assert (response.status_code, response.json["code"]) == (403, "forbidden")
    assert _take_snapshot(db_snapshot, acme, globex) == before


@pytest.mark.parametrize("in_live_call", [False, True])
def test_a_request_of_another_carrier_returns_403_and_writes_nothing(
    in_live_call: bool,
    live_calls: LiveCalls,
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other carrier signs with the deployment's account and with an account of acme."""
    deployment_carrier = OtherCarrier("the deployment's own one")
    monkeypatch.setitem(app_services().carriers._adapters, OTHER_CARRIER, deployment_carrier)
    account = create_account(acme, provider_type=OTHER_CARRIER)
    account_carrier = OtherCarrier(account.fields["secret"])
    before = _take_snapshot(db_snapshot, acme, globex)

    calls = (
        ("own-1", live_calls.own_number, live_calls.own_state),
        ("deployment-1", live_calls.deployment_number, live_calls.deployment_state),
    )
    for carrier, (call_id, to, state) in product((deployment_carrier, account_carrier), calls):
        fields = {"text": "Hello?", "state": state} if in_live_call else {"to": to}
        action = "speech" if in_live_call else "voice"
        response = carrier_client.send(
            carrier.signed_request(action, OTHER_CARRIER_BASE_PATH, call_id=call_id, **fields)
        )
        assert response.status_code == 403

    assert _take_snapshot(db_snapshot, acme, globex) == before
