"""The call-control application: where Telnyx sends the events of its numbers' calls, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import Asking
from vca.telephony.types import Held

# A turn takes 12 s at most, and then some commands: an event is sent again after this.
_WEBHOOK_S = 25
# A call that nobody answers or refuses is hung up, so that its caller hears something.
_FIRST_COMMAND_S = 15
_PAGE = 250


@dataclass(frozen=True)
class SetUp:
    """An application as it is now, and what had to be done for it."""

    connection_id: str
    name: str
    done: Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class Wanted:
    """What the application shall be. `fallback_url`: whom Telnyx asks when we do not answer."""

    events_url: str
    fallback_url: str = ""

    @property
    def name(self) -> str:
        return f"VCA {urlsplit(self.events_url).netloc}"

    @property
    def fields(self) -> Mapping[str, Any]:
        return {
            "active": True,
            "webhook_event_url": self.events_url,
            "webhook_event_failover_url": self.fallback_url or None,
            "webhook_api_version": "2",
            "webhook_timeout_secs": _WEBHOOK_S,
            "first_command_timeout": True,
            "first_command_timeout_secs": _FIRST_COMMAND_S,
        }


def set_up(ask: Asking, wanted: Wanted, connection_id: str) -> SetUp:
    """Make the application, or let it be as it should; the one that is configured, else by name."""
    if not wanted.events_url.startswith(("https://", "http://")):
        raise TelephonyError("PUBLIC_BASE_URL is not set", permanent=True, code="not-set-up")
    found = _find(ask, wanted, connection_id)
    if found is None:
        resource = ask.client.call_control_applications.create
        made = ask(resource, again=False, application_name=wanted.name, **wanted.fields)
        return SetUp(str(api.data(made).id), wanted.name, "created")
    if all(field.agrees for field in _held(found, wanted)):
        return SetUp(str(found.id), found.application_name, "unchanged")
    named = {"application_name": found.application_name, **wanted.fields}
    ask(ask.client.call_control_applications.update, found.id, **named)
    return SetUp(str(found.id), found.application_name, "updated")


def held(ask: Asking, wanted: Wanted, connection_id: str) -> tuple[Held, ...]:
    """The application beside what `set_up` would make of it."""
    if not connection_id:
        return ()
    return _held(_get(ask, connection_id), wanted)


def _get(ask: Asking, connection_id: str) -> Any:
    return api.data(ask(ask.client.call_control_applications.retrieve, connection_id))


def _find(ask: Asking, wanted: Wanted, connection_id: str) -> Any:
    if connection_id:
        return _get(ask, connection_id)
    which = {"application_name": {"contains": wanted.name}}
    page = ask(ask.client.call_control_applications.list, filter=which, page_size=_PAGE)
    return next((one for one in api.items(page) if one.application_name == wanted.name), None)


def _held(found: Any, wanted: Wanted) -> tuple[Held, ...]:
    return tuple(
        Held(name, _said(value), _said(getattr(found, name, None)))
        for name, value in wanted.fields.items()
    )


def _said(value: Any) -> str | None:
    """A field as Telnyx writes it; what is empty is not set."""
    if isinstance(value, bool):
        return str(value).lower()
    return None if value in (None, "") else str(value)
