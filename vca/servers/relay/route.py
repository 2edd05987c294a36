"""The route of voice WebSockets, `/telephony/<provider>/relay`, served by separate processes."""

from collections import deque
from collections.abc import Callable
from typing import NoReturn

from flask import Flask, request
from flask_sock import Sock
from simple_websocket import Server
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import NotFound

from vca.kit import deadline
from vca.kit.errors import DomainError
from vca.kit.web import access
from vca.observability import log, metrics
from vca.servers.relay import frames, slot_lease
from vca.servers.relay.connection import POLICY_VIOLATION, VoiceConnection
from vca.servers.relay.conversation import Conversation
from vca.servers.relay.frames import Setup
from vca.telephony.adapter import InvalidCarrierSignature, TelephonyAdapter
from vca.telephony.types import CarrierRequest, ProviderAccountRef
from vca.tenant.calls.carrier_webhooks import voice_websockets
from vca.tenant.calls.carrier_webhooks.voice_websockets import (
    AcceptedWebSocket,
    NoFreeSlot,
    WebSocketRejected,
)
from vca.tenant.calls.core import call_services

_PATH = f"/telephony/<provider>/{voice_websockets.ACTION}"
# By endpoint: WebSockets of the deployment's own accounts, and of tenants' accounts.
_RULES = {"relay": _PATH, "relay_of_account": f"{_PATH}/<account_token>"}
_SETUP_S = 5.0


def install(app: Flask, *, on_invalid_signature: Callable[[str, str], NoReturn]) -> None:
    """Serve voice WebSockets.

    `on_invalid_signature` rejects a handshake without a valid signature.
    """
    app.config["SOCK_SERVER_OPTIONS"] = {"max_message_size": frames.MAX_FRAME_BYTES}
    sockets = Sock(app)
    for endpoint, rule in _RULES.items():
        sockets.route(rule, endpoint=endpoint)(_serve_connection)

    def check_handshake() -> None:
        """Verify the handshake before it is answered, so that only carriers get a WebSocket."""
        if request.endpoint in _RULES and request.view_args is not None:
            provider, account_token = (
                request.view_args["provider"],
                request.view_args.get("account_token"),
            )
            try:
                _get_account(provider, account_token)[0].verify_websocket(
                    _handshake_request(provider, account_token)
                )
            except InvalidCarrierSignature:
                on_invalid_signature(provider, voice_websockets.ACTION)

    app.before_request(check_handshake)


@access("carrier")
def _serve_connection(ws: Server, provider: str, account_token: str | None = None) -> None:
    """Hold one call's conversation."""
    connection, services = VoiceConnection(ws), call_services.current_services()
    adapter, account_ref = _get_account(provider, account_token)
    try:
        admission = _admit(connection, adapter, account_ref, services)
    except (WebSocketRejected, DomainError) as error:
        metrics.RELAY_REFUSED.inc(carrier=provider)
        log.get_logger().warning("relay.refused", provider=provider, why=str(error))
        connection.close(POLICY_VIOLATION)
        return
    except NoFreeSlot:  # the carrier asks what to do next, and the call continues over HTTP
        log.get_logger().warning("relay.no_slot", provider=provider)
        deque(connection.send_end(voice_websockets.RESUME), maxlen=0)
        return
    ref = admission.ref
    bind_contextvars(call_id=str(ref.call_id), tenant_id=str(ref.tenant.id))
    if admission.is_reconnected:
        metrics.RELAY_RECONNECTS.inc(carrier=provider)
        log.get_logger().info("relay.reconnected", provider=provider)
    with slot_lease.lease_slot(admission.slot) as lease:
        Conversation(connection, admission, lease, services, adapter).converse()


def _admit(
    connection: VoiceConnection,
    adapter: TelephonyAdapter,
    account_ref: ProviderAccountRef,
    services: call_services.CallServices,
) -> AcceptedWebSocket:
    """Return the call of the WebSocket, from its first frame.

    Raises WebSocketRejected and NoFreeSlot.
    """
    setup = connection.receive_frame(_SETUP_S)
    if not isinstance(setup, Setup):
        raise WebSocketRejected("the first frame is late or is not a setup frame")
    assert adapter.websocket_format is not None
    call_id = setup.fields.get(adapter.websocket_format.call_id_field, "")
    with deadline.within(_SETUP_S):
        return voice_websockets.accept_websocket(
            services,
            token=setup.token,
            account=account_ref,
            provider_call_id=call_id,
            reconnects=adapter.websocket_format.reconnects,
        )


def _get_account(
    provider: str, account_token: str | None
) -> tuple[TelephonyAdapter, ProviderAccountRef]:
    """Return the adapter and the account that the WebSocket's URL names. Raises NotFound."""
    with deadline.within(_SETUP_S):
        account = voice_websockets.expected_signer(
            call_services.current_services(), carrier_name=provider, account_token=account_token
        )
    if account is None:
        raise NotFound
    return account


def _handshake_request(provider: str, account_token: str | None) -> CarrierRequest:
    """Return the handshake as its carrier signed it: with the URL that we gave it."""
    query = request.query_string.decode("latin-1")
    url = voice_websockets.websocket_url(call_services.current_services(), provider, account_token)
    return CarrierRequest(
        action=voice_websockets.ACTION,
        url=f"{url}?{query}" if query else url,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=b"",
    )
