"""The call-control application: where Telnyx sends the events of its numbers' calls, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.types import NumberSetting

# A turn takes 12 s at most, and then some commands: an event is sent again after this.
_WEBHOOK_TIMEOUT_S = 25
# A call that nobody answers or refuses is hung up, so that its caller hears something.
_FIRST_COMMAND_TIMEOUT_S = 15
_PAGE = 250


@dataclass(frozen=True)
class ApplicationSetup:
    """An application as it is now, and what had to be done for it."""

    connection_id: str
    name: str
    done: Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class ApplicationSettings:
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
            "webhook_timeout_secs": _WEBHOOK_TIMEOUT_S,
            "first_command_timeout": True,
            "first_command_timeout_secs": _FIRST_COMMAND_TIMEOUT_S,
        }


def ensure_application(
    session: ApiSession, expected: ApplicationSettings, connection_id: str
) -> ApplicationSetup:
    """Make the application, or let it be as it should; the one that is configured, else by name."""
    if not expected.events_url.startswith(("https://", "http://")):
        raise TelephonyError("PUBLIC_BASE_URL is not set", permanent=True, code="not-set-up")
    application = _find_application(session, expected, connection_id)
    if application is None:
        resource = session.client.call_control_applications.create
        response = session(resource, retry=False, application_name=expected.name, **expected.fields)
        return ApplicationSetup(str(api.require_data(response).id), expected.name, "created")
    if all(field.agrees for field in _compare_fields(application, expected)):
        return ApplicationSetup(str(application.id), application.application_name, "unchanged")
    fields = {"application_name": application.application_name, **expected.fields}
    session(session.client.call_control_applications.update, application.id, **fields)
    return ApplicationSetup(str(application.id), application.application_name, "updated")


def compare(
    session: ApiSession, expected: ApplicationSettings, connection_id: str
) -> tuple[NumberSetting, ...]:
    """The application beside what `set_up` would make of it."""
    if not connection_id:
        return ()
    return _compare_fields(_get_application(session, connection_id), expected)


def _get_application(session: ApiSession, connection_id: str) -> Any:
    return api.require_data(
        session(session.client.call_control_applications.retrieve, connection_id)
    )


def _find_application(
    session: ApiSession, expected: ApplicationSettings, connection_id: str
) -> Any:
    if connection_id:
        return _get_application(session, connection_id)
    name_filter = {"application_name": {"contains": expected.name}}
    page = session(
        session.client.call_control_applications.list, filter=name_filter, page_size=_PAGE
    )
    return next(
        (one for one in api.page_items(page) if one.application_name == expected.name), None
    )


def _compare_fields(application: Any, expected: ApplicationSettings) -> tuple[NumberSetting, ...]:
    return tuple(
        NumberSetting(name, _format_value(value), _format_value(getattr(application, name, None)))
        for name, value in expected.fields.items()
    )


def _format_value(value: Any) -> str | None:
    """A field as Telnyx writes it; what is empty is not set."""
    if isinstance(value, bool):
        return str(value).lower()
    return None if value in (None, "") else str(value)
