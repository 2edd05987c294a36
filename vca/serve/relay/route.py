"""The route of carriers' sockets: `/telephony/<provider>/relay`, served by a group of its own."""

from collections.abc import Callable
from typing import NoReturn

from flask import Flask, request
from flask_sock import Sock
from simple_websocket import Server
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import NotFound

from vca.kit import deadline, log, metrics
from vca.kit.errors import DomainError
from vca.kit.web import access
from vca.serve.relay import frames, holding
from vca.serve.relay.conversation import Conversation
from vca.serve.relay.frames import Setup
from vca.serve.relay.line import REFUSED, Line
from vca.telephony import providers
from vca.telephony.adapter import SignatureRefused, TelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenant.calls import desk, relays
from vca.tenant.calls.relays import Admitted, RelayRefused

_ENDPOINT = "relay"
_SETUP_S = 5.0


def install(app: Flask, *, refused: Callable[[str, str], NoReturn]) -> None:
    """Serve carriers' sockets; `refused` answers one whose handshake bears no good signature."""
    app.config["SOCK_SERVER_OPTIONS"] = {"max_message_size": frames.LARGEST}
    route = Sock(app).route(f"/telephony/<provider>/{relays.ACTION}", endpoint=_ENDPOINT)
    route(_socket)

    def check() -> None:
        """Before the handshake is answered: a stranger gets no socket at all."""
        if request.endpoint == _ENDPOINT and request.view_args is not None:
            provider = request.view_args["provider"]
            try:
                _adapter(provider).verify_socket(_handshake(provider))
            except SignatureRefused:
                refused(provider, relays.ACTION)

    app.before_request(check)


@access("carrier")
def _socket(ws: Server, provider: str) -> None:
    """Hold one call's conversation."""
    line = Line(ws)
    adapter, own = _adapter(provider), desk.current()
    try:
        admitted = _admitted(line, adapter, own)
    except (RelayRefused, DomainError) as error:
        metrics.RELAY_REFUSED.inc(carrier=provider)
        log.get().warning("relay.refused", provider=provider, why=str(error))
        line.close(REFUSED)
        return
    ref = admitted.ref
    bind_contextvars(call_id=str(ref.call_id), tenant_id=str(ref.tenant.id))
    with holding.held(admitted.slot) as lease:
        Conversation(line, admitted, lease, own).hold()


def _admitted(line: Line, adapter: TelephonyAdapter, own: desk.Desk) -> Admitted:
    """The call that the socket is of, by its first frame. Raises RelayRefused."""
    setup = line.hear(_SETUP_S)
    if not isinstance(setup, Setup):
        raise RelayRefused("the first frame is late, or no setup")
    assert adapter.relay is not None
    call_id = setup.said.get(adapter.relay.call_id, "")
    with deadline.within(_SETUP_S):
        return relays.admit(own, token=setup.token, carrier=adapter.name, provider_call_id=call_id)


def _adapter(provider: str) -> TelephonyAdapter:
    adapter = providers.current().adapter(provider)
    if adapter is None or adapter.relay is None:
        raise NotFound
    return adapter


def _handshake(provider: str) -> CarrierRequest:
    """The request as its carrier signed it: of the URL that it was given, and of nothing else."""
    query = request.query_string.decode("latin-1")
    url = relays.socket_url(desk.current(), provider)
    return CarrierRequest(
        action=relays.ACTION,
        url=f"{url}?{query}" if query else url,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=b"",
    )
