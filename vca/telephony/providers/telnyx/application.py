"""The call-control application: where and how Telnyx sends the events of its numbers' calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.types import NumberSetting

# Telnyx sends an event again after this. A turn takes 12 s at most, plus some commands.
_WEBHOOK_TIMEOUT_S = 25
# Telnyx hangs up a call that we neither answer nor reject, so that its caller hears something.
_FIRST_COMMAND_TIMEOUT_S = 15
_PAGE = 250


@dataclass(frozen=True)
class ApplicationSetup:
    """The application as it is now, and what was changed. The CLI prints the fields as JSON."""

    connection_id: str
    name: str
    done: Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class ApplicationSettings:
    """The expected settings. If we do not respond, Telnyx sends events to `fallback_url`."""

    events_url: str
    fallback_url: str = ""

    @property
    def name(self) -> str:
        """The application's name at Telnyx, which names our host."""
        return f"VCA {urlsplit(self.events_url).netloc}"

    @property
    def fields(self) -> Mapping[str, Any]:
        """The settings of the application in Telnyx's API."""
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
    """Create the application, or update it to the expected settings.

    An existing application is found by the configured id, else by its name.
    """
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
    """Compare the application with the settings that `ensure_application` would set."""
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
        (
            application
            for application in api.page_items(page)
            if application.application_name == expected.name
        ),
        None,
    )


def _compare_fields(application: Any, expected: ApplicationSettings) -> tuple[NumberSetting, ...]:
    return tuple(
        NumberSetting(name, _format_value(value), _format_value(getattr(application, name, None)))
        for name, value in expected.fields.items()
    )


def _format_value(value: Any) -> str | None:
    """Return a field as Telnyx writes it. An empty field is not set: None."""
    if isinstance(value, bool):
        return str(value).lower()
    return None if value in (None, "") else str(value)
