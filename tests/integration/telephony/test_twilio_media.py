"""Tests of recordings and WebRTC credentials at Twilio."""

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
    with connected_twilio() as connection:
        yield connection


def test_the_first_or_the_requested_recording_of_a_call_is_fetched(
    twilio: ConnectedTwilio,
) -> None:
    call = new_call_id()
    second_id = twilio.account.add_recording(call, b"RIFF second")
    twilio.account.add_recording(call, b"RIFF first", age_s=60)

    first_recording, requested_recording = (
        twilio.adapter.fetch_recording(call, recording_id) for recording_id in (None, second_id)
    )

    assert first_recording is not None
    assert requested_recording is not None
    assert b"".join(first_recording.chunks) == b"RIFF first"
    assert b"".join(requested_recording.chunks) == b"RIFF second"


@pytest.mark.parametrize("status", ["in-progress", "processing", "absent"])
def test_an_unfinished_recording_is_not_fetched(twilio: ConnectedTwilio, status: str) -> None:
    call = new_call_id()
    recording = twilio.account.add_recording(call, b"", status=status)

    assert twilio.adapter.fetch_recording(call) is None
    assert twilio.adapter.fetch_recording(call, recording) is None


def test_a_recording_of_another_call_is_not_fetched_or_deleted(twilio: ConnectedTwilio) -> None:
    call, other_call = new_call_id(), new_call_id()
    recording = twilio.account.add_recording(other_call, AUDIO)

    twilio.adapter.delete_recording(call, recording)

    assert twilio.adapter.fetch_recording(call, recording) is None
    assert recording in twilio.account.recordings


def test_a_recording_without_audio_is_not_fetched(twilio: ConnectedTwilio) -> None:
    call = new_call_id()
    recording = twilio.account.add_recording(call, AUDIO)
    del twilio.account.audio[recording]

    assert twilio.adapter.fetch_recording(call) is None


def test_truncated_audio_is_an_error_at_its_end(twilio: ConnectedTwilio) -> None:
    call = new_call_id()
    recording = twilio.account.add_recording(call, AUDIO)
    item = dict(twilio.account.recordings[recording])
    page = {"recordings": [item], "page": 0, "page_size": 50}
    twilio.server.inject_fault(Fault(200, json.dumps(page)))
    twilio.server.inject_fault(
        Fault(200, b"RIFF", {"content-type": "audio/x-wav"}, is_truncated=True)
    )
    audio = twilio.adapter.fetch_recording(call)
    assert audio is not None

    with pytest.raises(TelephonyError) as raised:
        list(audio.chunks)

    assert not raised.value.permanent


# --- WebRTC ----------------------------------------------------------------------------------


def test_a_webrtc_token_is_valid_for_one_number_and_the_requested_time(
    twilio: ConnectedTwilio,
) -> None:
    credential = twilio.adapter.create_webrtc_credential(NUMBER, identity="bob", ttl_s=600)

    claims = jwt.decode(credential.token, API_KEY.secret, algorithms=["HS256"])
    assert (claims["iss"], claims["sub"]) == (API_KEY.sid, ACCOUNT_LOGIN.account_sid)
    assert claims["grants"]["identity"] == credential.identity == "bob"
    [application] = twilio.account.applications.values()
    assert claims["grants"]["voice"] == {
        "outgoing": {"application_sid": application["sid"], "params": {"VcaNumber": NUMBER}}
    }
    assert claims["exp"] - claims["nbf"] == 600
    assert abs(credential.expires_at - clock.now() - timedelta(minutes=10)) < timedelta(minutes=1)
    assert credential.token not in repr(credential)


def test_webrtc_credentials_share_one_application(twilio: ConnectedTwilio) -> None:
    for identity in ("ann", "bob"):
        twilio.adapter.create_webrtc_credential(NUMBER, identity=identity, ttl_s=60)

    [application] = twilio.account.applications.values()
    assert application["voice_url"] == f"{CALLBACK}voice"
    assert application["status_callback"] == f"{CALLBACK}status"


def test_without_an_api_key_webrtc_is_a_permanent_error(twilio: ConnectedTwilio) -> None:
    adapter = twilio.new_adapter()

    with pytest.raises(TelephonyError) as raised:
        adapter.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)

    adapter.close()
    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert twilio.account.requests == []


def test_a_tenant_account_uses_its_own_api_key(
    twilio: ConnectedTwilio,
) -> None:
    fields = {"account_sid": ACCOUNT_LOGIN.account_sid, "auth_token": ACCOUNT_LOGIN.auth_token}
    key_fields = {"api_key": f"{API_KEY.sid}:{API_KEY.secret}"}
    settings = deployment_settings(twilio.server.url)
    adapter = TwilioAdapter.from_account(settings, Account({**fields, **key_fields}))
    adapter_without_key = TwilioAdapter.from_account(settings, Account(fields))

    credential = adapter.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)

    adapter.close()
    assert jwt.decode(credential.token, API_KEY.secret, algorithms=["HS256"])["iss"] == API_KEY.sid
    with pytest.raises(TelephonyError, match="no API key"):
        adapter_without_key.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)
    adapter_without_key.close()


def test_a_failed_look_up_of_the_application_is_an_error(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(FAILS, times=2)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.create_webrtc_credential(NUMBER, identity="bob", ttl_s=60)

    assert not raised.value.permanent
