"""Numbers at Twilio: pointed at us, tagged with their tenant, let go again.

The tag is the number's friendly name, which the Console shows. Twilio has no way to change a number
only if nobody else has: who registers reads back what came of it, and the tag decides.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio.settings import Place
from vca.telephony.providers.twilio.urls import callback
from vca.telephony.types import Held

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import Asking

Wanted = Mapping[str, str | None]
_URLS = ("voice_url", "voice_fallback_url", "status_callback")
_TAG = re.compile(r"VCA tenant ([0-9a-f-]{36})", re.ASCII)
# Numbers of one process take their turns: between tenants of one deployment nothing can slip in
# between the reading and the writing.
_TURNS = tuple(Lock() for _ in range(64))
_LONGEST_TURN_S = 9.0


def register(asking: "Asking", wanted: Wanted, *, tenant_id: UUID, did_number: str) -> None:
    """See `TelephonyAdapter.register_number`."""
    with _turn(did_number):
        found = _own(asking, did_number, tenant_id)
        if found is None:
            raise TelephonyError(
                "the account has no such number", permanent=True, code="no-such-number"
            )
        changes = {name: value or "" for name, value in wanted.items() if _is(found, name) != value}
        if not changes:
            return
        asking.client.incoming_phone_numbers(found.sid).update(**changes)
        _own(asking, did_number, tenant_id)


def unregister(asking: "Asking", wanted: Wanted, *, tenant_id: UUID, did_number: str) -> None:
    """See `TelephonyAdapter.unregister_number`; what somebody else has changed since stays."""
    with _turn(did_number):
        found = _find(asking, did_number)
        if found is None or owner(found) != tenant_id:
            return
        ours = [name for name in _URLS if wanted[name] and _is(found, name) == wanted[name]]
        changes = {"friendly_name": did_number, **dict.fromkeys(ours, "")}
        if "voice_fallback_url" in ours:
            changes["voice_fallback_method"] = "POST"  # as Twilio has it from the start
        asking.client.incoming_phone_numbers(found.sid).update(**changes)


def check(asking: "Asking", wanted: Wanted, *, did_number: str) -> tuple[Held, ...]:
    """See `TelephonyAdapter.check_number`; the names are those of Twilio's API.

    Whose else a number is, is not told.
    """
    found = _find(asking, did_number)
    if found is None:
        return ()
    held = {name: _is(found, name) for name in wanted}
    if owner(found) is not None and held["friendly_name"] != wanted["friendly_name"]:
        held["friendly_name"] = "VCA tenant …"
    return tuple(Held(name, value, held[name]) for name, value in wanted.items())


def wanted(place: Place, *, tenant_id: UUID, did_number: str) -> Wanted:
    """What a number of this tenant's is set to; None: to nothing. Raises TelephonyError.

    While we are away Twilio fetches a static document of the number's own, by GET, as whatever
    serves files wants it. An application or a trunk would have it ignore all of this.
    """
    if not place.callback_url:
        raise TelephonyError("PUBLIC_BASE_URL is not set", permanent=True, code="not-set-up")
    fallback = f"{place.fallback_url}{did_number.lstrip('+')}.xml" if place.fallback_url else None
    return {
        "friendly_name": f"VCA tenant {tenant_id}",
        "voice_application_sid": None,
        "trunk_sid": None,
        "voice_url": callback(place.callback_url, "voice"),
        "voice_method": "POST",
        "voice_fallback_url": fallback,
        "voice_fallback_method": "GET" if fallback else "POST",
        "status_callback": callback(place.callback_url, "status"),
        "status_callback_method": "POST",
    }


def owner(found: Any) -> UUID | None:
    """Whose the number is by its tag; None: it has none of ours."""
    tag = _TAG.fullmatch(found.friendly_name or "")
    try:
        return UUID(tag[1]) if tag else None
    except ValueError:
        return None


def _own(asking: "Asking", did_number: str, tenant_id: UUID) -> Any | None:
    """The number, which nobody else may have tagged; raises TelephonyError."""
    found = _find(asking, did_number)
    if found is not None and owner(found) not in (None, tenant_id):
        raise TelephonyError("the number is another tenant's", permanent=True, code="foreign")
    return found


def _find(asking: "Asking", did_number: str) -> Any | None:
    """The account's number; Twilio's filter takes parts of numbers too."""
    listed = asking.client.incoming_phone_numbers.list(phone_number=did_number, limit=20)
    return next((it for it in listed if it.phone_number == did_number), None)


def _is(found: Any, name: str) -> str | None:
    return getattr(found, name) or None


@contextmanager
def _turn(did_number: str) -> Iterator[None]:
    lock = _TURNS[hash(did_number) % len(_TURNS)]
    if not lock.acquire(timeout=_LONGEST_TURN_S):
        raise TelephonyError("another registration takes too long", permanent=False, code="busy")
    try:
        yield
    finally:
        lock.release()
