"""Webhook endpoints of a tenant or of the platform: receivers on loopback, and their requests."""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from standardwebhooks import Webhook as Verifier

from tests.fakes.http_receiver import Behaviour, HttpReceiver, reply_with
from tests.support.factories import Tenant, assert_created
from tests.support.services import app_services, use_services
from vca.kit import json
from vca.kit.http import OutgoingClient, UrlPolicy
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

SIGNED_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def allow_loopback() -> None:
    """Allow this process to send requests to this machine."""
    use_services(
        http_client=OutgoingClient(UrlPolicy((ip_network("127.0.0.0/8"),), allow_http=True))
    )


def reply_with_status(code: int, *headers: str) -> Behaviour:
    """Return a behaviour that replies with this status and these headers."""
    lines = [f"HTTP/1.1 {code} Said", "Content-Length: 4", "Connection: close", *headers]
    return reply_with("\r\n".join([*lines, "", "told"]).encode())


@dataclass(frozen=True)
class WebhookRequest:
    """A request that a receiver got."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def is_signed_with(self, secret: str) -> bool:
        """Verify the signature with the library that receivers use."""
        try:
            Verifier(secret).verify(
                self.body, {name: self.headers[name] for name in SIGNED_HEADERS}
            )
        except Exception:
            return False
        return True


def received_requests(receiver: HttpReceiver) -> list[WebhookRequest]:
    """Return the requests of a receiver, in order."""
    return [_parse_request(data) for data in receiver.requests]


def received_types(receiver: HttpReceiver) -> list[str]:
    """Return the event types that a receiver got, in order."""
    return [request.event["type"] for request in received_requests(receiver)]


def _parse_request(data: bytes) -> WebhookRequest:
    head, _, body = data.partition(b"\r\n\r\n")
    pairs = (line.decode().partition(":") for line in head.split(b"\r\n")[1:])
    return WebhookRequest({name.lower(): value.strip() for name, _, value in pairs}, body)


def register_webhook(tenant: Tenant, receiver: HttpReceiver, **fields: Any) -> dict[str, Any]:
    """Register a receiver as a webhook of the tenant; return it with its secret."""
    return assert_created(tenant.post("/webhooks", {"url": receiver_url(receiver), **fields}))


def receiver_url(receiver: HttpReceiver) -> str:
    """Return the URL of a receiver."""
    return f"http://127.0.0.1:{receiver.port}/in"


def emit_event(tenant: Tenant, type: str = "message.taken", **data: Any) -> None:
    """Emit an event of the tenant."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        events.emit(session, Event(type, data))
