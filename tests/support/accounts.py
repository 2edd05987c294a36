"""Create telephony accounts of tenants, and act as the carrier of each account."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self
from uuid import uuid4

from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant, assert_created
from tests.support.services import app_services
from vca.kit import clock
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.turn_settings import TURN_FIELDS
from vca.telephony.types import Account, Capabilities, WebRtcCredential

OTHER_CARRIER = "other"
TOKEN = "a-token-that-nobody-else-may-see"
OTHER_CARRIER_PATH = "tests.support.accounts:OtherCarrier"


class OtherCarrier(FakeTelephonyAdapter):
    """A second carrier with which the deployment has no account."""

    name: ClassVar[str] = OTHER_CARRIER

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        return None


class WebRtcCarrier(FakeTelephonyAdapter):
    """The fake carrier with WebRTC support."""

    capabilities: ClassVar[Capabilities] = Capabilities(webrtc=True, turn=TURN_FIELDS)

    def create_webrtc_credential(
        self, did_number: str, *, identity: str, ttl_s: int
    ) -> WebRtcCredential:
        self._record_operation(
            "webrtc_credential", did_number=did_number, identity=identity, ttl_s=ttl_s
        )
        return WebRtcCredential(TOKEN, identity, clock.now() + timedelta(seconds=ttl_s))


@dataclass(frozen=True)
class OwnAccount:
    """A telephony account: the API's representation, and the fields that its carrier signs with."""

    representation: dict[str, Any]
    fields: dict[str, str]

    @property
    def id(self) -> str:
        return str(self.representation["id"])

    @property
    def number_fields(self) -> dict[str, Any]:
        """Return the fields that put a phone number on this account."""
        return {
            "provider_type": self.representation["provider_type"],
            "telephony_account_id": self.id,
        }

    @property
    def carrier(self) -> Any:
        """Return the adapter that the process uses for this account."""
        return app_services().carriers.for_account(
            self.representation["provider_type"], Account(self.fields)
        )

    def carrier_client(self, api: Api) -> CarrierClient:
        """Return a client that sends the carrier's requests, signed by this account."""
        adapter_class = app_services().carriers.adapter_class(self.representation["provider_type"])
        assert adapter_class is not None
        assert issubclass(adapter_class, FakeTelephonyAdapter)
        return CarrierClient(adapter_class(self.fields["secret"]), api)


def create_account(tenant: Tenant, *, provider_type: str = "fake", **options: Any) -> OwnAccount:
    """Create a telephony account of the tenant."""
    fields = {"account_id": "acme", "secret": f"secret-{uuid4().hex}"}
    body = {"provider_type": provider_type, "fields": fields, **options}
    return OwnAccount(assert_created(tenant.post("/telephony-accounts", body)), fields)


def requested_operations(carrier: FakeTelephonyAdapter) -> list[str]:
    """Return the operations that a carrier was asked to do, in order, without `on_inbound_call`."""
    return [operation for operation, _ in carrier.operations if operation != "on_inbound_call"]
