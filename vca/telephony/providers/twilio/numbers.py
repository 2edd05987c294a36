"""Phone numbers at Twilio: register, unregister and compare them.

A number is tagged with its tenant in its friendly name, which the Console shows. Twilio has no
conditional update, so registering reads the number again afterwards, and the tag decides whose it
is.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio.settings import TwilioUrls
from vca.telephony.types import NumberSetting

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import RestSession

NumberSettings = Mapping[str, str | None]
_URLS = ("voice_url", "voice_fallback_url", "status_callback")
_TAG = re.compile(r"VCA tenant ([0-9a-f-]{36})", re.ASCII)
# A process handles one registration of a number at a time, so that two tenants of a deployment do
# not interleave between reading and writing. Numbers share the locks.
_LOCKS = tuple(Lock() for _ in range(64))
_LOCK_TIMEOUT_S = 9.0


def register(
    session: "RestSession", expected: NumberSettings, *, tenant_id: UUID, did_number: str
) -> None:
    """Register a number; see `TelephonyAdapter.register_number`."""
    with _number_lock(did_number):
        number = _find_own_number(session, did_number, tenant_id)
        if number is None:
            raise TelephonyError(
                "the account has no such number", permanent=True, code="no-such-number"
            )
        changes = {
            name: value or "" for name, value in expected.items() if _field(number, name) != value
        }
        if not changes:
            return
        session.client.incoming_phone_numbers(number.sid).update(**changes)
        _find_own_number(session, did_number, tenant_id)


def unregister(
    session: "RestSession", expected: NumberSettings, *, tenant_id: UUID, did_number: str
) -> None:
    """Unregister a number; see `TelephonyAdapter.unregister_number`.

    Settings that somebody else has changed since then are kept.
    """
    with _number_lock(did_number):
        number = _find_number(session, did_number)
        if number is None or tagged_tenant_id(number) != tenant_id:
            return
        our_fields = [
            name for name in _URLS if expected[name] and _field(number, name) == expected[name]
        ]
        changes = {"friendly_name": did_number, **dict.fromkeys(our_fields, "")}
        if "voice_fallback_url" in our_fields:
            changes["voice_fallback_method"] = "POST"  # Twilio's default
        session.client.incoming_phone_numbers(number.sid).update(**changes)


def compare(
    session: "RestSession", expected: NumberSettings, *, did_number: str
) -> tuple[NumberSetting, ...]:
    """Compare a number's settings; see `TelephonyAdapter.check_number`.

    The names are those of Twilio's API. The result does not reveal which other tenant has the
    number.
    """
    number = _find_number(session, did_number)
    if number is None:
        return ()
    actual = {name: _field(number, name) for name in expected}
    if (
        tagged_tenant_id(number) is not None
        and actual["friendly_name"] != expected["friendly_name"]
    ):
        actual["friendly_name"] = "VCA tenant …"
    return tuple(NumberSetting(name, value, actual[name]) for name, value in expected.items())


def expected_settings(urls: TwilioUrls, *, tenant_id: UUID, did_number: str) -> NumberSettings:
    """Return the settings of a registered number; None means not set. Raises TelephonyError.

    While our servers are unavailable, Twilio fetches a static document of the number's own, with
    GET because file servers expect it. The application and the trunk are not set, because Twilio
    ignores the other settings if either is.
    """
    if not urls.callback_url:
        raise TelephonyError("PUBLIC_BASE_URL is not set", permanent=True, code="not-set-up")
    fallback_url = f"{urls.fallback_url}{did_number.lstrip('+')}.xml" if urls.fallback_url else None
    return {
        "friendly_name": f"VCA tenant {tenant_id}",
        "voice_application_sid": None,
        "trunk_sid": None,
        "voice_url": f"{urls.callback_url}voice",
        "voice_method": "POST",
        "voice_fallback_url": fallback_url,
        "voice_fallback_method": "GET" if fallback_url else "POST",
        "status_callback": f"{urls.callback_url}status",
        "status_callback_method": "POST",
    }


def tagged_tenant_id(number: Any) -> UUID | None:
    """Return the tenant in the number's tag, or None if it has none of our tags."""
    tag = _TAG.fullmatch(number.friendly_name or "")
    try:
        return UUID(tag[1]) if tag else None
    except ValueError:
        return None


def _find_own_number(session: "RestSession", did_number: str, tenant_id: UUID) -> Any | None:
    """Return the number, or None. Raises TelephonyError if another tenant has tagged it."""
    number = _find_number(session, did_number)
    if number is not None and tagged_tenant_id(number) not in (None, tenant_id):
        raise TelephonyError("the number belongs to another tenant", permanent=True, code="foreign")
    return number


def _find_number(session: "RestSession", did_number: str) -> Any | None:
    """Return the account's number, or None. Twilio's filter also matches parts of numbers."""
    numbers = session.client.incoming_phone_numbers.list(phone_number=did_number, limit=20)
    return next((number for number in numbers if number.phone_number == did_number), None)


def _field(number: Any, name: str) -> str | None:
    return getattr(number, name) or None


@contextmanager
def _number_lock(did_number: str) -> Iterator[None]:
    lock = _LOCKS[hash(did_number) % len(_LOCKS)]
    if not lock.acquire(timeout=_LOCK_TIMEOUT_S):
        raise TelephonyError("another registration takes too long", permanent=False, code="busy")
    try:
        yield
    finally:
        lock.release()
