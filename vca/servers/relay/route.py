"""The route of voice WebSockets, `/telephony/<provider>/relay/<token>`, in separate processes.

Anybody can reach it, and a WebSocket occupies a thread. So a handshake is verified before it is
answered, without the database as far as possible; few WebSockets may be open without a first frame;
and refusals are counted by client address.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Semaphore
from typing import NoReturn

from flask import Flask, Response, g, request
from flask_sock import Sock
from simple_websocket import Server
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import NotFound, ServiceUnavailable

from vca.kit import deadline
from vca.kit.errors import DomainError
from vca.kit.web import access
from vca.observability import log, metrics
from vca.registry.rate_limits.token_cache import RateLimited
from vca.servers.relay import frames, slot_lease
from vca.servers.relay.connection import POLICY_VIOLATION, VoiceConnection
from vca.servers.relay.conversation import Conversation
from vca.servers.relay.frames import Setup
from vca.services import Services, current_services
from vca.telephony.adapter import InvalidCarrierSignature
from vca.telephony.providers import ADAPTERS
from vca.telephony.types import CarrierRequest
from vca.tenant.calls.carrier_webhooks import voice_websockets
from vca.tenant.calls.carrier_webhooks.voice_websockets import (
    AcceptedWebSocket,
    Handshake,
    NoFreeSlot,
    WebSocketRejected,
)

_PATH = f"/telephony/<provider>/{voice_websockets.ACTION}"
# By endpoint. The previous release gave out URLs without a token.
_RULES = {"relay": f"{_PATH}/<url_token>", "relay_without_token": _PATH}
# Carriers send the first frame with the end of the handshake, so it arrives after one round trip.
# That takes 0.3 s around the world, and as long again plus 0.2 s if its packet is lost.
_SETUP_S = 1.0
_PLACE_TIMEOUT_S = 1.0
_DATABASE_BUDGET_S = 5.0
_RETRY_HEADERS = {"Retry-After": "1"}


class RelayRoute:
    """The WebSockets of one process.

    `count_refusal` counts a refusal of the current request's client address and raises RateLimited
    if there were too many. `reject_signature` does the same and raises Forbidden. At most half of
    the `threads` serve a WebSocket without a first frame, and a quarter wait for that: after a
    process has died, all of its calls connect again at once.
    """

    def __init__(
        self,
        *,
        count_refusal: Callable[[], None],
        reject_signature: Callable[[str, str], NoReturn],
        threads: int,
    ) -> None:
        self._count_refusal = count_refusal
        self._reject_signature = reject_signature
        self._unidentified = Semaphore(max(1, threads // 2))
        self._waiting = Semaphore(threads // 4)

    def check_handshake(self) -> None:
        """Verify the handshake before it is answered, so that only carriers get a WebSocket."""
        if request.endpoint not in _RULES or request.view_args is None:
            return
        provider, url_token = request.view_args["provider"], request.view_args.get("url_token")
        with deadline.within(_DATABASE_BUDGET_S):
            handshake = voice_websockets.read_handshake(
                current_services(), carrier_name=provider, url_token=url_token
            )
        if handshake is None:
            self._refuse(provider)
        try:
            handshake.adapter.verify_websocket(
                _handshake_request(provider, url_token, services=current_services())
            )
        except InvalidCarrierSignature:
            self._reject_signature(provider, voice_websockets.ACTION)
        with deadline.within(_DATABASE_BUDGET_S):
            if not voice_websockets.is_admissible(handshake, services=current_services()):
                self._refuse(provider)
        if not self._take_place():
            metrics.RELAY_REFUSED.inc(carrier=provider)
            log.get_logger().warning("relay.too_many_unidentified", provider=provider)
            raise ServiceUnavailable(response=Response(status=503, headers=_RETRY_HEADERS))
        g.relay_handshake, g.relay_is_unidentified = handshake, True

    def _take_place(self) -> bool:
        """Return whether this WebSocket may open; wait a moment if too many lack a first frame."""
        if self._unidentified.acquire(blocking=False):
            return True
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._unidentified.acquire(timeout=_PLACE_TIMEOUT_S)
        finally:
            self._waiting.release()

    def release_place(self, error: BaseException | None = None) -> None:
        """Let another WebSocket open: this one has had its first frame, or has ended."""
        if g.pop("relay_is_unidentified", False):
            self._unidentified.release()

    def serve_connection(self, ws: Server, provider: str, url_token: str | None = None) -> None:
        """Hold one call's conversation."""
        connection, services = VoiceConnection(ws), current_services()
        handshake: Handshake = g.relay_handshake
        try:
            setup = _receive_setup(connection)
            self.release_place()
            admission = _admit(setup, handshake, services)
        except (WebSocketRejected, DomainError) as error:
            metrics.RELAY_REFUSED.inc(carrier=provider)
            log.get_logger().warning("relay.refused", provider=provider, why=str(error))
            connection.close(POLICY_VIOLATION)
            if isinstance(error, WebSocketRejected):
                with suppress(RateLimited):
                    self._count_refusal()
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
        with slot_lease.lease_slot(admission.slot, database=services.database) as lease:
            Conversation(connection, admission, lease, services, handshake.adapter).converse()

    def _refuse(self, provider: str) -> NoReturn:
        if provider in ADAPTERS:  # the client chose the path
            metrics.RELAY_REFUSED.inc(carrier=provider)
        self._count_refusal()
        raise NotFound


def install(
    app: Flask,
    *,
    count_refusal: Callable[[], None],
    reject_signature: Callable[[str, str], NoReturn],
    threads: int,
) -> None:
    """Serve voice WebSockets. The arguments are those of `RelayRoute`."""
    route = RelayRoute(
        count_refusal=count_refusal,
        reject_signature=reject_signature,
        threads=threads,
    )
    app.config["SOCK_SERVER_OPTIONS"] = {"max_message_size": frames.MAX_FRAME_BYTES}

    @access("carrier")
    def serve_connection(ws: Server, provider: str, url_token: str | None = None) -> None:
        route.serve_connection(ws, provider, url_token)

    sockets = Sock(app)
    for endpoint, rule in _RULES.items():
        sockets.route(rule, endpoint=endpoint)(serve_connection)
    app.before_request(route.check_handshake)
    app.teardown_request(route.release_place)


def _receive_setup(connection: VoiceConnection) -> Setup:
    """Return the first frame; raise WebSocketRejected if it is late or another one."""
    setup = connection.receive_frame(_SETUP_S)
    if not isinstance(setup, Setup):
        raise WebSocketRejected("the first frame is late or is not a setup frame")
    return setup


def _admit(setup: Setup, handshake: Handshake, services: Services) -> AcceptedWebSocket:
    """Return the call of the WebSocket. Raises WebSocketRejected and NoFreeSlot."""
    assert handshake.adapter.websocket_format is not None
    call_id = setup.fields.get(handshake.adapter.websocket_format.call_id_field, "")
    with deadline.within(_DATABASE_BUDGET_S):
        return voice_websockets.accept_websocket(
            services, handshake, token=setup.token, provider_call_id=call_id
        )


def _handshake_request(
    provider: str, url_token: str | None, *, services: Services
) -> CarrierRequest:
    """Return the handshake as its carrier signed it: with the URL that we gave it."""
    query = request.query_string.decode("latin-1")
    url = voice_websockets.websocket_url(services, provider, url_token)
    return CarrierRequest(
        action=voice_websockets.ACTION,
        url=f"{url}?{query}" if query else url,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=b"",
    )
