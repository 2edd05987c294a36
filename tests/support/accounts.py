"""Tenants' own accounts with carriers, and the carrier's end of each."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self
from uuid import uuid4

from tests.support.api import Api
from tests.support.carrier_line import CarrierLine
from tests.support.world import Tenant, made
from vca.kit import clock
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import Account, Capabilities, WebRtcCredential

OTHER = "other"
TOKEN = "a-token-that-nobody-else-may-see"
OTHER_PATH = "tests.support.accounts:OtherCarrier"


class OtherCarrier(FakeTelephonyAdapter):
    """Another carrier, with which the deployment has no account."""

    name: ClassVar[str] = OTHER

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        return None


class BrowsersCarrier(FakeTelephonyAdapter):
    """The fake carrier, of browsers too."""

    capabilities: ClassVar[Capabilities] = Capabilities(webrtc=True)

    def create_webrtc_credential(
        self, did_number: str, *, identity: str, ttl_s: int
    ) -> WebRtcCredential:
        self._record_operation(
            "webrtc_credential", did_number=did_number, identity=identity, ttl_s=ttl_s
        )
        return WebRtcCredential(TOKEN, identity, clock.now() + timedelta(seconds=ttl_s))


@dataclass(frozen=True)
class Own:
    """An account as the API shows it, and what its carrier signs with."""

    shown: dict[str, Any]
    fields: dict[str, str]

    @property
    def id(self) -> str:
        return str(self.shown["id"])

    @property
    def named(self) -> dict[str, Any]:
        """What a number says that is on it."""
        return {"provider_type": self.shown["provider_type"], "telephony_account_id": self.id}

    @property
    def carrier(self) -> Any:
        """The adapter that the process asks about it."""
        return providers.current_carriers().for_account(
            self.shown["provider_type"], Account(self.fields)
        )

    def line(self, api: Api) -> CarrierLine:
        """The carrier calls, by this account."""
        kind = providers.current_carriers().adapter_class(self.shown["provider_type"])
        assert kind is not None
        return CarrierLine(kind(self.fields["secret"]), api)  # type: ignore[call-arg] # a fake one


def keep(tenant: Tenant, *, provider_type: str = "fake", **more: Any) -> Own:
    """A new account of the tenant's."""
    fields = {"account_id": "acme", "secret": f"secret-{uuid4().hex}"}
    body = {"provider_type": provider_type, "fields": fields, **more}
    return Own(made(tenant.post("/telephony-accounts", body)), fields)


def asked(carrier: FakeTelephonyAdapter) -> list[str]:
    """What a carrier was asked, in order; not what it was told of rings."""
    return [what for what, _ in carrier.operations if what != "on_inbound_call"]
