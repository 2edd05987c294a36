"""An endpoint of a tenant's or the operator's: a receiver on loopback, and what it was sent."""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from standardwebhooks import Webhook as Verifier

from tests.doubles.receiver import Behaviour, Receiver, answers
from tests.support.world import Tenant, made
from vca.kit import http, json
from vca.kit.http import OutgoingClient, UrlPolicy
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

SENT = ("webhook-id", "webhook-timestamp", "webhook-signature")


def allow_loopback() -> None:
    """Let this process send to receivers on this machine."""
    http.set_current_client(
        OutgoingClient(UrlPolicy((ip_network("127.0.0.0/8"),), allow_http=True))
    )


def status(code: int, *headers: str) -> Behaviour:
    """Answer with this status and these headers."""
    lines = [f"HTTP/1.1 {code} Said", "Content-Length: 4", *headers]
    return answers("\r\n".join([*lines, "", "told"]).encode())


@dataclass(frozen=True)
class Told:
    """One request that a receiver got."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed_with(self, secret: str) -> bool:
        """By the receivers' own library."""
        try:
            Verifier(secret).verify(self.body, {name: self.headers[name] for name in SENT})
        except Exception:
            return False
        return True


def told(receiver: Receiver) -> list[Told]:
    """What a receiver was sent, in order."""
    return [_read(asked) for asked in receiver.asked]


def types(receiver: Receiver) -> list[str]:
    """The types of events that a receiver was sent."""
    return [each.event["type"] for each in told(receiver)]


def _read(asked: bytes) -> Told:
    head, _, body = asked.partition(b"\r\n\r\n")
    pairs = (line.decode().partition(":") for line in head.split(b"\r\n")[1:])
    return Told({name.lower(): value.strip() for name, _, value in pairs}, body)


def register(tenant: Tenant, at: Receiver, **fields: Any) -> dict[str, Any]:
    """Register a receiver as a webhook of the tenant's; it with its secret."""
    return made(tenant.post("/webhooks", {"url": url_of(at), **fields}))


def url_of(receiver: Receiver) -> str:
    """Where a receiver listens."""
    return f"http://127.0.0.1:{receiver.port}/in"


def tell(tenant: Tenant, type: str = "message.taken", **data: Any) -> None:
    """Have something happen to the tenant."""
    with tenant_session(tenant.ref) as session:
        events.emit(session, Event(type, data))
