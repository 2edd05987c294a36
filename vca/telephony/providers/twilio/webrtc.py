"""Access tokens for browsers that call through Twilio's Voice SDK.

A browser's call goes to an application of the account, which points at us as a number does. The
access token fixes the number that the browser calls.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio.settings import ApiKey, TwilioUrls
from vca.telephony.providers.twilio.webhooks import WEBRTC_NUMBER_FIELD
from vca.telephony.types import WebRtcCredential

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import RestSession


def create_credential(
    session: "RestSession",
    api_key: ApiKey,
    urls: TwilioUrls,
    *,
    did_number: str,
    identity: str,
    ttl_s: int,
) -> WebRtcCredential:
    """Create an access token; see `TelephonyAdapter.create_webrtc_credential`."""
    from twilio.jwt.access_token import AccessToken
    from twilio.jwt.access_token.grants import VoiceGrant

    grant = VoiceGrant(
        outgoing_application_sid=_ensure_application(session, urls),
        outgoing_application_params={WEBRTC_NUMBER_FIELD: did_number},
    )
    expires_at = clock.now() + timedelta(seconds=ttl_s)
    token = AccessToken(
        session.client.account_sid,
        api_key.sid,
        api_key.secret,
        [grant],
        identity=identity,
        ttl=ttl_s,
    )
    return WebRtcCredential(token.to_jwt(), identity, expires_at)


def _ensure_application(session: "RestSession", urls: TwilioUrls) -> str:
    """Return the SID of the account's application that points at us; create it on first use."""
    if not urls.callback_url:
        raise TelephonyError("PUBLIC_BASE_URL is not set", permanent=True, code="not-set-up")
    settings: dict[str, Any] = {
        "voice_url": f"{urls.callback_url}voice",
        "voice_method": "POST",
        "status_callback": f"{urls.callback_url}status",
        "status_callback_method": "POST",
    }
    name = f"VCA {urls.callback_url}"[:64]
    for application in session.client.applications.list(friendly_name=name, limit=20):
        if application.voice_url == settings["voice_url"]:
            return str(application.sid)
    return str(session.client.applications.create(friendly_name=name, **settings).sid)
