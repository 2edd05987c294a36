"""Twilio's recordings and browsers: audio as it comes, and tokens that open one number."""

from collections.abc import Iterator
from datetime import timedelta

import jwt
import pytest

from tests.contract.suites.telephony import CALLBACK, NUMBER, new_call_id
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    API_KEY,
    ConnectedTwilio,
    connected_twilio,
    deployment_settings,
)
from tests.fakes.carriers.twilio.server import FAILS, Fault
from vca.kit import clock, json
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.types import Account

AUDIO = b"RIFF....WAVE" + bytes(range(256)) * 3_000


@pytest.fixture
def twilio() -> Iterator[ConnectedTwilio]:
    with connected_twilio() as made:
        yield made


def test_a_call_of_several_recordings_gives_its_first_or_the_one_that_is_meant(
    twilio: ConnectedTwilio,
) -> None:
    call = new_call_id()
    second = twilio.account.add_recording(call, b"RIFF second")
    twilio.account.add_recording(call, b"RIFF first", age_s=60)

    first, meant = (twilio.adapter.fetch_recording(call, which) for which in (None, second))

    assert first is not None
    assert meant is not None
    assert b"".join(first.chunks) == b"RIFF first"
    assert b"".join(meant.chunks) == b"RIFF second"


@pytest.mark.parametrize("status", ["in-progress", "processing", "absent"])
def test_a_recording_that_is_not_ready_is_none(twilio: ConnectedTwilio, status: str) -> None:
    call = new_call_id()
    recording = twilio.account.add_recording(call, b"", status=status)

    assert twilio.adapter.fetch_recording(call) is None
    assert twilio.adapter.fetch_recording(call, recording) is None


def test_a_recording_of_another_call_is_none_and_is_not_deleted(twilio: ConnectedTwilio) -> None:
    call, other = new_call_id(), new_call_id()
    recording = twilio.account.add_recording(other, AUDIO)

    twilio.adapter.delete_recording(call, recording)

    assert twilio.adapter.fetch_recording(call, recording) is None
    assert recording in twilio.account.recordings


def test_audio_that_is_gone_though_its_record_is_there_is_none(twilio: ConnectedTwilio) -> None:
    call = new_call_id()
    recording = twilio.account.add_recording(call, AUDIO)
    del twilio.account.audio[recording]

    assert twilio.adapter.fetch_recording(call) is None


def test_audio_that_comes_in_part_raises_where_it_ends(twilio: ConnectedTwilio) -> None:
    call = new_call_id()
    recording = twilio.account.add_recording(call, AUDIO)
    listed = dict(twilio.account.recordings[recording])
    page = {"recordings": [listed], "page": 0, "page_size": 50}
    twilio.server.inject_fault(Fault(200, json.dumps(page)))
    twilio.server.inject_fault(
        Fault(200, b"RIFF", {"content-type": "audio/x-wav"}, is_truncated=True)
    )
    got = twilio.adapter.fetch_recording(call)
    assert got is not None

    with pytest.raises(TelephonyError) as raised:
        list(got.chunks)

    assert not raised.value.permanent


# --- Browsers --------------------------------------------------------------------------------


def test_a_browsers_token_opens_one_number_for_so_long(twilio: ConnectedTwilio) -> None:
    credential = twilio.adapter.create_webrtc_credential(NUMBER, identity="bob", ttl_s=600)

    said = jwt.decode(credential.token, API_KEY.secret, algorithms=["HS256"])
    assert (said["iss"], said["sub"]) == (API_KEY.sid, ACCOUNT_LOGIN.account_sid)
    assert said["grants"]["identity"] == credential.identity == "bob"
    [application] = twilio.account.applications.values()
    assert said["grants"]["voice"] == {
        "outgoing": {"application_sid": application["sid"], "params": {"VcaNumber": NUMBER}}
    }
    assert said["exp"] - said["nbf"] == 600
    assert abs(credential.expires_at - clock.now() - timedelta(minutes=10)) < timedelta(minutes=1)
    assert credential.token not in repr(credential)


def test_browsers_share_one_application_that_leads_to_us(twilio: ConnectedTwilio) -> None:
    for identity in ("ann", "bob"):
        twilio.adapter.create_webrtc_credential(NUMBER, identity=identity, ttl_s=60)

    [application] = twilio.account.applications.values()
    assert application["voice_url"] == f"{CALLBACK}voice"
    assert application["status_callback"] == f"{CALLBACK}status"


def test_without_an_api_key_no_browser_can_call(twilio: ConnectedTwilio) -> None:
    keyless = twilio.new_adapter()

    with pytest.raises(TelephonyError) as raised:
        keyless.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)

    keyless.close()
    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert twilio.account.requests == []


def test_browsers_call_through_a_tenants_own_account_with_its_own_api_key(
    twilio: ConnectedTwilio,
) -> None:
    fields = {"account_sid": ACCOUNT_LOGIN.account_sid, "auth_token": ACCOUNT_LOGIN.auth_token}
    key = {"api_key": f"{API_KEY.sid}:{API_KEY.secret}"}
    settings = deployment_settings(twilio.server.url)
    own = TwilioAdapter.from_account(settings, Account({**fields, **key}))
    keyless = TwilioAdapter.from_account(settings, Account(fields))

    credential = own.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)

    own.close()
    assert jwt.decode(credential.token, API_KEY.secret, algorithms=["HS256"])["iss"] == API_KEY.sid
    with pytest.raises(TelephonyError, match="no API key"):
        keyless.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)
    keyless.close()


def test_an_application_that_cannot_be_looked_for_is_a_failure(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(FAILS, times=2)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)

    assert not raised.value.permanent
