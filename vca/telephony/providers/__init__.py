"""The carriers of this deployment. Adapters are imported on first use.

Providers are independent of each other. They get what they need from higher layers as callbacks.
"""

import hashlib
from collections import OrderedDict
from importlib import import_module
from threading import Lock

from vca.kit import json
from vca.settings import Settings
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import Account

ADAPTERS = {
    "fake": "vca.telephony.providers.fake.adapter:FakeTelephonyAdapter",
    "twilio": "vca.telephony.providers.twilio.adapter:TwilioAdapter",
    "telnyx": "vca.telephony.providers.telnyx.adapter:TelnyxAdapter",
}
GENERIC = "generic"
# Adapters of tenants' accounts that a process caches. Each holds its SDK's connections.
_MAX_ACCOUNT_ADAPTERS = 256


class Carriers:
    """The configured carriers, and the carrier that `generic` stands for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._adapters: dict[str, TelephonyAdapter | None] = {}
        self._account_adapters: OrderedDict[bytes, TelephonyAdapter] = OrderedDict()
        self._lock = Lock()
        self.default = settings.telephony_provider or None
        # Simulations use the fake carrier in production too, where numbers cannot name it.
        self.simulator = FakeTelephonyAdapter(f"fake-carrier|{settings.secret_key}")
        self.simulator.added_ranges = settings.diallable_prefixes
        self._adapters["fake"] = None if settings.production else self.simulator

    def adapter(self, name: str) -> TelephonyAdapter | None:
        """Return the adapter of the deployment's account, or None if unknown or not configured."""
        if name not in self._adapters:
            path = ADAPTERS.get(name)
            if path is None:  # unauthenticated input, so do not cache it
                return None
            adapter = _import_adapter(path).from_settings(self._settings)
            if adapter is not None:
                adapter.added_ranges = self._settings.diallable_prefixes
            self._adapters[name] = adapter
        return self._adapters[name]

    def adapter_class(self, name: str) -> type[TelephonyAdapter] | None:
        """Return the adapter class of a carrier, or None if there is no such carrier.

        The carrier need not be configured for the deployment. The fake carrier does not exist in
        production.
        """
        if name == FakeTelephonyAdapter.name and self._settings.production:
            return None
        if (own_adapter := self.adapter(name)) is not None:
            return type(own_adapter)
        return _import_adapter(ADAPTERS[name]) if name in ADAPTERS else None

    def for_account(self, name: str, account: Account | None) -> TelephonyAdapter | None:
        """Return the adapter of a tenant's own account.

        Without an account it only parses and renders. The same credentials share an adapter: a
        process caches the 256 adapters that were used last.
        """
        adapter_class = self.adapter_class(name)
        if adapter_class is None:
            return None
        key = _account_key(name, account)
        with self._lock:
            adapter = self._account_adapters.get(key) or adapter_class.from_account(
                self._settings, account
            )
            adapter.added_ranges = self._settings.diallable_prefixes
            if isinstance(adapter, FakeTelephonyAdapter):
                adapter.callee = self.simulator.callee
            self._account_adapters[key] = adapter
            self._account_adapters.move_to_end(key)
            if len(self._account_adapters) > _MAX_ACCOUNT_ADAPTERS:
                self._account_adapters.popitem(last=False)
        return adapter

    def parser_for(self, name: str) -> TelephonyAdapter | None:
        """Return an adapter that parses this carrier's requests, whatever their account.

        Return None if there is no such carrier.
        """
        return self.adapter(name) or self.for_account(name, None)

    def for_call(self, provider_type: str) -> TelephonyAdapter | None:
        """Return the deployment's adapter for a call, also for simulated calls, or None."""
        if provider_type == self.simulator.name:
            return self.simulator
        return self.adapter(provider_type)

    def carrier_name(self, provider_type: str) -> str | None:
        """Return the carrier's name; for `generic` the deployment's default carrier, if any."""
        return self.default if provider_type == GENERIC else provider_type

    def for_number(self, provider_type: str) -> TelephonyAdapter | None:
        """Return the adapter of the deployment's account with a number's carrier, or None."""
        name = self.carrier_name(provider_type)
        return self.adapter(name) if name else None

    def is_configured(self, provider_type: str) -> bool:
        """Return whether a number may name this provider: `generic` or a configured carrier."""
        return provider_type == GENERIC or self.adapter(provider_type) is not None

    def configured_classes(self) -> list[type[TelephonyAdapter]]:
        """Return the adapter classes of the carriers that numbers can name."""
        return [type(adapter) for name in ADAPTERS if (adapter := self.adapter(name)) is not None]

    def register(self, adapter: TelephonyAdapter) -> None:
        """Use this adapter under its own name from now on."""
        adapter.added_ranges = self._settings.diallable_prefixes
        self._adapters[adapter.name] = adapter
        if isinstance(adapter, FakeTelephonyAdapter):
            self.simulator = adapter


def _account_key(name: str, account: Account | None) -> bytes:
    """Return the cache key of an account. It is a hash, so it contains no credentials."""
    versions = (account.fields, account.previous or {}) if account is not None else ()
    sorted_fields = [sorted(fields.items()) for fields in versions]
    return hashlib.sha256(json.dumps([name, sorted_fields])).digest()


def _import_adapter(path: str) -> type[TelephonyAdapter]:
    module, _, name = path.partition(":")
    adapter_class: type[TelephonyAdapter] = getattr(import_module(module), name)
    return adapter_class
