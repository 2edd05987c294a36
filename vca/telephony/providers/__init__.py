"""The carriers of this deployment: names, and adapters imported on first use.

Providers are independent of each other; what they need from above they get as callbacks.
"""

from importlib import import_module

from vca.kit.config import Settings
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.mock import FakeTelephonyAdapter

ADAPTERS = {
    "fake": "vca.telephony.mock:FakeTelephonyAdapter",
    "twilio": "vca.telephony.providers.twilio.adapter:TwilioAdapter",
    "telnyx": "vca.telephony.providers.telnyx.adapter:TelnyxAdapter",
}
GENERIC = "generic"


class Carriers:
    """The carriers that are configured, and the one that `generic` stands for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._adapters: dict[str, TelephonyAdapter | None] = {}
        self.default = settings.telephony_provider or None
        # Simulations use the fake carrier in production too, where no number may name it.
        self.simulator = FakeTelephonyAdapter(f"fake-carrier|{settings.secret_key}")
        self._adapters["fake"] = None if settings.production else self.simulator

    def adapter(self, name: str) -> TelephonyAdapter | None:
        """The carrier of that name, or None when there is none or it is not configured."""
        if name not in self._adapters:
            path = ADAPTERS.get(name)
            if path is None:  # a stranger's word: nothing is remembered of it
                return None
            self._adapters[name] = _class(path).from_settings(self._settings)
        return self._adapters[name]

    def of_call(self, provider_type: str) -> TelephonyAdapter | None:
        """The carrier that holds a call, the simulator's calls included."""
        if provider_type == self.simulator.name:
            return self.simulator
        return self.adapter(provider_type)

    def for_number(self, provider_type: str) -> TelephonyAdapter | None:
        """The carrier of a number; `generic` is the deployment's default carrier, if it has one."""
        name = self.default if provider_type == GENERIC else provider_type
        return self.adapter(name) if name else None

    def accepts(self, provider_type: str) -> bool:
        """Whether a number may name this provider: `generic`, or a carrier that is configured."""
        return provider_type == GENERIC or self.adapter(provider_type) is not None

    def put(self, adapter: TelephonyAdapter) -> None:
        """Use this adapter under its own name from now on."""
        self._adapters[adapter.name] = adapter
        if isinstance(adapter, FakeTelephonyAdapter):
            self.simulator = adapter


def _class(path: str) -> type[TelephonyAdapter]:
    module, _, name = path.partition(":")
    found: type[TelephonyAdapter] = getattr(import_module(module), name)
    return found


_current: Carriers | None = None


def use(carriers: Carriers) -> Carriers:
    """Make these the process's carriers; returns them."""
    global _current
    _current = carriers
    return carriers


def current() -> Carriers:
    """The process's carriers; raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("no carriers are configured in this process")
    return _current
