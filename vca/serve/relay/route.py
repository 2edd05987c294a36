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
from vca.telephony.adapter import SignatureRefused, TelephonyAdapter
from vca.telephony.types import CarrierRef, CarrierRequest
from vca.tenant.calls import desk, relays
from vca.tenant.calls.relays import Admitted, RelayRefused

_PATH = f"/telephony/<provider>/{relays.ACTION}"
# By endpoint: sockets of the deployment's own accounts, and of tenants'.
_RULES = {"relay": _PATH, "relay_of_account": f"{_PATH}/<held>"}
_SETUP_S = 5.0


def install(app: Flask, *, refused: Callable[[str, str], NoReturn]) -> None:
    """Serve carriers' sockets; `refused` answers one whose handshake bears no good signature."""
    app.config["SOCK_SERVER_OPTIONS"] = {"max_message_size": frames.LARGEST}
    sockets = Sock(app)
    for endpoint, rule in _RULES.items():
        sockets.route(rule, endpoint=endpoint)(_socket)

    def check() -> None:
        """Before the handshake is answered: a stranger gets no socket at all."""
        if request.endpoint in _RULES and request.view_args is not None:
            provider, held = request.view_args["provider"], request.view_args.get("held")
            try:
                _opener(provider, held)[0].verify_socket(_handshake(provider, held))
            except SignatureRefused:
                refused(provider, relays.ACTION)

    app.before_request(check)


@access("carrier")
def _socket(ws: Server, provider: str, held: str | None = None) -> None:
    """Hold one call's conversation."""
    line, own = Line(ws), desk.current()
    adapter, by = _opener(provider, held)
    try:
        admitted = _admitted(line, adapter, by, own)
    except (RelayRefused, DomainError) as error:
        metrics.RELAY_REFUSED.inc(carrier=provider)
        log.get().warning("relay.refused", provider=provider, why=str(error))
        line.close(REFUSED)
        return
    ref = admitted.ref
    bind_contextvars(call_id=str(ref.call_id), tenant_id=str(ref.tenant.id))
    with holding.held(admitted.slot) as lease:
        Conversation(line, admitted, lease, own).hold()


def _admitted(line: Line, adapter: TelephonyAdapter, by: CarrierRef, own: desk.Desk) -> Admitted:
    """The call that the socket is of, by its first frame. Raises RelayRefused."""
    setup = line.hear(_SETUP_S)
    if not isinstance(setup, Setup):
        raise RelayRefused("the first frame is late, or no setup")
    assert adapter.relay is not None
    call_id = setup.said.get(adapter.relay.call_id, "")
    with deadline.within(_SETUP_S):
        return relays.admit(own, token=setup.token, by=by, provider_call_id=call_id)


def _opener(provider: str, held: str | None) -> tuple[TelephonyAdapter, CarrierRef]:
    """Whose socket this must be, as its URL says; raises NotFound."""
    with deadline.within(_SETUP_S):
        found = relays.opener(desk.current(), carrier=provider, held=held)
    if found is None:
        raise NotFound
    return found


def _handshake(provider: str, held: str | None) -> CarrierRequest:
    """The request as its carrier signed it: of the URL that it was given, and of nothing else."""
    query = request.query_string.decode("latin-1")
    url = relays.public_url(desk.current(), provider, held)
    return CarrierRequest(
        action=relays.ACTION,
        url=f"{url}?{query}" if query else url,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=b"",
    )
