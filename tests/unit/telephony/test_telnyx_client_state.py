"""Tests of Telnyx's client states: only one that we made counts, and only for its own leg."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.carriers.telnyx.accounts import STATE_SIGNER
from vca.kit import json
from vca.telephony.providers.telnyx import client_state
from vca.telephony.providers.telnyx.client_state import Leg, LegState, Phase
from vca.telephony.state_signature import StateSigner

CALL, SESSION, OTHER = "v3:a-call", "a-session", "v3:another-call"
OWN_LEG = Leg(CALL, SESSION)
STATE = LegState(
    "then", "token", CALL, "+14155550100", "reference", ({"command": "hangup"},), "left", SESSION
)


def _fields(state: LegState = STATE) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(base64.b64decode(state.encode(STATE_SIGNER)))
    return fields


def _encode(fields: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(fields)).decode()


def _alter(**changes: Any) -> str:
    return _encode({**_fields(), **changes})


def test_a_state_of_ours_counts_for_its_leg() -> None:
    assert client_state.decode(STATE.encode(STATE_SIGNER), STATE_SIGNER, OWN_LEG) == STATE


def _alter_signature() -> str:
    reference = _fields()["reference"]
    return _alter(reference=reference[:-1] + ("A" if reference[-1] != "A" else "B"))


@pytest.mark.parametrize(
    "alter",
    [
        lambda: _alter(phase="more"),
        lambda: _alter(phase="target"),
        lambda: _alter(state="another token"),
        lambda: _alter(call=OTHER),
        lambda: _alter(own_number="+14155550102"),
        lambda: _alter(rest=[{"command": "transfer", "to": "+19005551234"}]),
        lambda: _alter(rest=[]),
        lambda: _alter(after="listening"),
        lambda: _alter(reference="reference"),
        lambda: _alter(reference=_fields()["reference"].replace("reference", "other")),
        lambda: _alter(reference=_fields()["reference"].replace(SESSION, "other")),
        _alter_signature,
        lambda: STATE.encode(StateSigner("the secret of another deployment")),
    ],
    ids=[
        *("phase", "target", "state", "call", "own number", "rest", "no rest", "after"),
        *("unsigned", "reference", "session", "signature", "other deployment"),
    ],
)
def test_a_state_that_is_not_ours_as_a_whole_does_not_count(alter: Callable[[], str]) -> None:
    for leg in (OWN_LEG, Leg(OTHER, SESSION), Leg("", SESSION)):
        assert client_state.decode(alter(), STATE_SIGNER, leg) is None


@pytest.mark.parametrize(
    ("phase", "leg", "counts"),
    [
        ("listening", OWN_LEG, True),
        ("listening", Leg(CALL, "another-session"), True),
        ("listening", Leg(OTHER, SESSION), False),
        ("listening", Leg("", SESSION), True),
        ("listening", Leg("", "another-session"), False),
        ("listening", Leg("", ""), False),
        ("target", Leg("v3:target", SESSION), True),
        ("target", Leg("v3:target", "another-session"), False),
        ("target", Leg("v3:target", ""), False),
        ("target", OWN_LEG, False),
        ("target", Leg("", SESSION), False),
    ],
)
def test_a_state_counts_only_for_its_leg(phase: Phase, leg: Leg, *, counts: bool) -> None:
    state = LegState(phase, "token", CALL, session=SESSION)

    decoded = client_state.decode(state.encode(STATE_SIGNER), STATE_SIGNER, leg)

    assert decoded == (state if counts else None)


def test_a_state_without_a_session_counts_for_no_leg_without_an_id() -> None:
    for phase, leg in (("listening", Leg("", "")), ("target", Leg("v3:target", ""))):
        state = LegState(phase, "token", CALL)  # type: ignore[arg-type] # phases
        assert client_state.decode(state.encode(STATE_SIGNER), STATE_SIGNER, leg) is None


def test_the_state_of_a_call_that_we_place_names_no_leg() -> None:
    state = LegState("dial", "token", own_number="+14155550100", reference="reference")

    assert client_state.decode(state.encode(STATE_SIGNER), STATE_SIGNER, OWN_LEG) == state
    named = LegState("dial", "token", CALL)
    assert client_state.decode(named.encode(STATE_SIGNER), STATE_SIGNER, OWN_LEG) is None


def test_the_previous_release_reads_our_states() -> None:
    """It refuses unknown fields, and ignores everything but its own reference in `reference`."""
    fields = _fields()

    assert fields.keys() == {
        *("phase", "state", "call", "own_number", "reference", "rest", "after"),
    }
    assert {**fields, "reference": "", "rest": list(STATE.rest)} == {
        "phase": STATE.phase,
        "state": STATE.state,
        "call": STATE.call,
        "own_number": STATE.own_number,
        "reference": "",
        "rest": list(STATE.rest),
        "after": STATE.after,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"phase": "asleep"},
        {"phase": ["more"]},
        {"phase": "more", "state": 7},
        {"phase": "more", "state": "x" * 2_001},
        {"phase": "more", "call": "../../phone_numbers"},
        {"phase": "more", "after": "never"},
        {"phase": "more", "rest": "hangup"},
        {"phase": "more", "rest": [{"command": "dial"}]},
        {"phase": "more", "rest": [{"command": "__class__"}]},
        {"phase": "more", "rest": ["hangup"]},
        {"phase": "more", "rest": [{"command": ["hangup"]}]},
        {"phase": "more", "rest": [{"command": {"hangup": True}}]},
        {"phase": "more", "rest": [{}]},
        {"phase": "more", "unknown": 1},
    ],
)
def test_an_invalid_client_state_is_ignored(fields: dict[str, Any]) -> None:
    assert client_state.decode_unsigned(_encode(fields)) is None
