"""The requests of each target as raw bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from benchmarks.load import RequestRotation
from benchmarks.tenant_data import BenchmarkTenant
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest

CALLER = "+14155550100"
# With these settings Twilio is the default carrier of all numbers.
TWILIO = {
    "TELEPHONY_PROVIDER": "twilio",
    "TWILIO_ACCOUNT_SID": f"AC{7:032x}",
    "TWILIO_AUTH_TOKEN": f"{11:032x}",
}


def hello_requests() -> RequestRotation:
    """Return the request for the page of the bare Flask app."""
    return RequestRotation([encode_request("GET", "/")])


def list_requests(tenants: Sequence[BenchmarkTenant], app: str) -> RequestRotation:
    """Return a list request for each tenant, with that tenant's key for the app."""
    return RequestRotation(
        [encode_request("GET", list_path(tenant), list_headers(tenant, app)) for tenant in tenants]
    )


def list_path(tenant: BenchmarkTenant) -> str:
    """Return the path of the tenant's list of numbers."""
    return f"/api/tenants/{tenant.id}/phone-numbers"


def list_headers(tenant: BenchmarkTenant, app: str) -> dict[str, str]:
    """Return the headers with the tenant's API key for an application."""
    return {"Authorization": f"Bearer {tenant.api_keys[app]}"}


def explain_requests(tenants: Sequence[BenchmarkTenant]) -> RequestRotation:
    """Return a POST for each tenant that changes nothing: to explain the route to its number."""
    return RequestRotation(
        [
            encode_request(
                "POST",
                f"/api/tenants/{tenant.id}/routing/explain",
                {**list_headers(tenant, "vca"), "Content-Type": "application/json"},
                b'{"to": "%s"}' % tenant.number.encode(),
            )
            for tenant in tenants
        ]
    )


@dataclass(frozen=True)
class FakeCarrierCalls:
    """Inbound calls of the fake carrier to each tenant's number in turn, a new call every time."""

    secret_key: str
    base_url: str
    app: str
    numbers: Sequence[str]

    def __call__(self, index: int) -> bytes:
        """Return a new inbound call to the next number."""
        number = self.numbers[index % len(self.numbers)]
        signed = self.signed_request(f"{self.app}-{index}", number)
        return encode_request("POST", "/telephony/fake/voice", signed_headers(signed), signed.body)

    def signed_request(self, call_id: str, number: str) -> CarrierRequest:
        """Return the fake carrier's signed request."""
        carrier = FakeTelephonyAdapter(f"fake-carrier|{self.secret_key}")
        fields = {"call_id": call_id, "to": number, "from": CALLER}
        return carrier.signed_request("voice", f"{self.base_url}/telephony/fake/", **fields)


@dataclass(frozen=True)
class TwilioCalls:
    """Inbound calls of Twilio: a form, signed as Twilio's SDK signs it."""

    base_url: str
    numbers: Sequence[str]

    def __call__(self, index: int) -> bytes:
        """Return a new inbound call to the next number."""
        account_sid, token = TWILIO["TWILIO_ACCOUNT_SID"], TWILIO["TWILIO_AUTH_TOKEN"]
        number = self.numbers[index % len(self.numbers)]
        form = {
            "AccountSid": account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": f"CA{index:032x}",
            "CallStatus": "ringing",
            "Called": number,
            "Caller": CALLER,
            "CallerCountry": "US",
            "Direction": "inbound",
            "From": CALLER,
            "To": number,
        }
        path = "/telephony/twilio/voice"
        signature = RequestValidator(token).compute_signature(f"{self.base_url}{path}", form)
        request_headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": signature,
        }
        return encode_request("POST", path, request_headers, urlencode(form).encode())


def signed_headers(signed: CarrierRequest) -> dict[str, str]:
    """Return the headers of a signed request with a JSON body."""
    return {**signed.headers, "Content-Type": "application/json"}


def encode_request(
    method: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b""
) -> bytes:
    """Return an HTTP request as raw bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", "Accept: */*", "User-Agent: bench"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
