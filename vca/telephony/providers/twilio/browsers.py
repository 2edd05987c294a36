"""Browsers that call through Twilio's Voice SDK: what they log in with.

A browser's call comes to an application of the account, which leads to us as a number does. Which
number it calls is sealed into its token.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio.settings import ApiKey, Place
from vca.telephony.providers.twilio.urls import callback
from vca.telephony.providers.twilio.webhooks import BROWSER_NUMBER
from vca.telephony.types import WebRtcCredential

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import Asking


def credential(
    asking: "Asking", key: ApiKey, place: Place, *, did_number: str, identity: str, ttl_s: int
) -> WebRtcCredential:
    """See `TelephonyAdapter.webrtc_credential`."""
    from twilio.jwt.access_token import AccessToken
    from twilio.jwt.access_token.grants import VoiceGrant

    grant = VoiceGrant(
        outgoing_application_sid=_application(asking, place),
        outgoing_application_params={BROWSER_NUMBER: did_number},
    )
    expires_at = clock.now() + timedelta(seconds=ttl_s)
    token = AccessToken(
        asking.client.account_sid, key.sid, key.secret, [grant], identity=identity, ttl=ttl_s
    )
    return WebRtcCredential(token.to_jwt(), identity, expires_at)


def _application(asking: "Asking", place: Place) -> str:
    """The account's application that leads here, made on first use."""
    if not place.callback_url:
        raise TelephonyError("PUBLIC_BASE_URL is not set", permanent=True, code="not-set-up")
    wanted: dict[str, Any] = {
        "voice_url": callback(place.callback_url, "voice"),
        "voice_method": "POST",
        "status_callback": callback(place.callback_url, "status"),
        "status_callback_method": "POST",
    }
    name = f"VCA {place.callback_url}"[:64]
    for known in asking.client.applications.list(friendly_name=name, limit=20):
        if known.voice_url == wanted["voice_url"]:
            return str(known.sid)
    return str(asking.client.applications.create(friendly_name=name, **wanted).sid)
