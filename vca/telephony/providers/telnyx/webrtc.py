"""Browser calls: credentials of a connection that parks its outbound calls.

A browser with a credential chooses the number that it dials and the caller id. Only on a connection
with outbound call parking does Telnyx dial nothing by itself: it reports the call and waits for our
command. We treat it as an inbound call to the number that the browser dials, which reaches an agent
or is rejected. Not yet tried with Telnyx itself.
"""

from datetime import timedelta

from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.types import NumberSetting, WebRtcCredential


def compare(session: ApiSession, connection_id: str, events_url: str) -> tuple[NumberSetting, ...]:
    """Compare the credential connection with what browser calls through VCA need."""
    connection = api.require_data(
        session(session.client.credential_connections.retrieve, connection_id)
    )
    is_parking = getattr(connection.outbound, "call_parking_enabled", None) is True
    return (
        NumberSetting("outbound.call_parking_enabled", "true", str(is_parking).lower()),
        NumberSetting("webhook_event_url", events_url, connection.webhook_event_url),
    )


def create_credential(
    session: ApiSession,
    connection_id: str,
    events_url: str,
    *,
    did_number: str,
    identity: str,
    ttl_s: int,
) -> WebRtcCredential:
    """Create a separate credential for each browser, tagged with the number that it calls from.

    The credential expires, and its token with it. Raises TelephonyError with the code `not-set-up`
    unless the connection parks calls and sends their events to VCA.
    """
    if not connection_id or not events_url.startswith(("https://", "http://")):
        raise TelephonyError(
            "no credential connection is configured", permanent=True, code="not-set-up"
        )
    if not all(setting.agrees for setting in compare(session, connection_id, events_url)):
        raise TelephonyError(
            "the credential connection does not park outbound calls for VCA",
            permanent=True,
            code="not-set-up",
        )
    expires_at = clock.now() + timedelta(seconds=ttl_s)
    response = session(
        session.client.telephony_credentials.create,
        connection_id=connection_id,
        name=identity,
        tag=f"vca {did_number}",
        expires_at=expires_at.isoformat(),
    )
    credential = api.require_data(response)
    token = session(session.client.telephony_credentials.create_token, credential.id)
    return WebRtcCredential(str(token).strip(), credential.sip_username, expires_at)
