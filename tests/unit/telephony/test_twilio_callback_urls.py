"""Tests of the URLs that we give Twilio: they count only as we made them."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.suites.telephony import CALLBACK, STATE
from tests.fakes.carriers.twilio.connected_twilio import callback_url
from tests.unit.telephony.test_twilio_webhooks import ADAPTER, genuine_request
from vca.telephony.providers.twilio.callback_urls import CallbackUrls
from vca.telephony.state_signature import StateSigner


def test_a_callback_url_has_sorted_parameters_that_are_parsed_again() -> None:
    url = callback_url("turn", verb="gather", state=STATE)

    parameters = [name.partition("=")[0] for name in url.partition("?")[2].split("&")]
    assert parameters == ["signature", "state", "verb"]
    assert f"&state={STATE.replace('=', '%3D')}&verb=gather" in url
    assert ADAPTER.parse(genuine_request(url)).state == STATE


def _unsigned(url: str) -> str:
    """Return the URL as the previous release made it."""
    return re.sub(r"signature=[^&]*&", "", url)


@pytest.mark.parametrize(
    "alter_url",
    [
        _unsigned,
        lambda url: url.replace("verb=gather", "verb=dial"),
        lambda url: url.replace("&verb=gather", "&reference=a&verb=gather"),
        lambda url: url.replace("/turn?", "/recording?"),
        lambda url: url.replace("state=", "state=x"),
        lambda url: re.sub(r"signature=.", "signature=", url),
        lambda url: CallbackUrls(CALLBACK, StateSigner("another secret")).build(
            "turn", state=STATE, verb="gather"
        ),
    ],
    ids=["unsigned", "verb", "reference", "action", "state", "signature", "other deployment"],
)
def test_a_callback_url_that_is_not_ours_as_a_whole_has_no_state(
    alter_url: Callable[[str], str],
) -> None:
    url = alter_url(callback_url("turn", state=STATE, verb="gather"))
    recording: dict[str, Any] = {"RecordingSid": f"RE{1:032x}", "RecordingStatus": "absent"}

    carrier_event = ADAPTER.parse(genuine_request(url, DialCallStatus="busy", **recording))

    assert carrier_event.state is None
    assert carrier_event.unsigned is not None
    assert carrier_event.unsigned.state in (STATE, f"x{STATE}")
