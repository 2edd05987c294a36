"""Which numbers a tenant may have dialled: the policy against toll fraud, in one pure function.

Whatever is not plainly an ordinary telephone in an allowed country is refused: what earns its owner
money with each minute is what fraud dials.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

from vca.tenant.settings.models import Settings

DEFAULT_PER_MINUTE = 10
DEFAULT_PER_DAY = 200
DenialCode = Literal[
    "frozen",
    "invalid_number",
    "emergency_number",
    "own_number",
    "number_type",
    "country",
    "per_minute",
    "per_day",
]
_ALLOWED_TYPES = {
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.MOBILE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.VOIP,
}
# +800, +870 and +881 to +883, +979: freephone, satellite and other networks of no country.
_NO_COUNTRY = "001"


@dataclass(frozen=True)
class DialPolicy:
    """A tenant's policy. `countries` None: left to the moment of dialling, which knows from where.

    `home_country` is the one whose freephone numbers may be dialled.
    """

    countries: tuple[str, ...] | None
    home_country: str | None
    per_minute: int = DEFAULT_PER_MINUTE
    per_day: int = DEFAULT_PER_DAY


@dataclass(frozen=True)
class RecentDials:
    """How many legs the tenant had dialled in the last minute and the last 24 hours."""

    last_minute: int = 0
    last_day: int = 0


@dataclass(frozen=True)
class DialDecision:
    """Whether a number may be dialled; `code` for programs and `why` for people if it may not."""

    allowed: bool
    code: DenialCode | None
    reason: str


def effective_policy(settings: Settings, *, from_number: str | None) -> DialPolicy:
    """The policy that holds for legs from or through one of the tenant's numbers.

    Without countries of its own a tenant may dial its home country, and without that one the
    country of `from_number`; None: the number is not known yet.
    """
    stored_policy = settings.dial_policy
    home_country = settings.home_country or (country_of(from_number) if from_number else None)
    countries = stored_policy.get("countries")
    if countries is None and (home_country or from_number):
        countries = [home_country] if home_country else []
    return DialPolicy(
        None if countries is None else tuple(countries),
        home_country,
        stored_policy.get("per_minute", DEFAULT_PER_MINUTE),
        stored_policy.get("per_day", DEFAULT_PER_DAY),
    )


def country_of(number: str) -> str | None:
    """The ISO 3166 code of a number's country, which may take its area code to tell, as in +1."""
    parsed = _parse_e164(number)
    country = phonenumbers.region_code_for_number(parsed) if parsed else None
    return None if country == _NO_COUNTRY else country


def check_dial(
    number: str, *, policy: DialPolicy, recent: RecentDials, own_number: bool, frozen: bool
) -> DialDecision:
    """Whether a tenant may have `number` dialled now.

    `own_number`: it is one of the tenant's, and the call would come back in. `frozen`: an operator
    has stopped all dialling.
    """
    if frozen:
        return DialDecision(False, "frozen", "dialling is frozen")
    for code, reason in _denials(number, policy, own_number):
        return DialDecision(False, code, reason)
    if recent.last_minute >= policy.per_minute:
        return DialDecision(False, "per_minute", f"no more than {policy.per_minute} legs a minute")
    if recent.last_day >= policy.per_day:
        return DialDecision(False, "per_day", f"no more than {policy.per_day} legs in 24 hours")
    return DialDecision(True, None, "an ordinary number in an allowed country")


def _denials(number: str, policy: DialPolicy, own_number: bool) -> Iterator[tuple[DenialCode, str]]:
    """What speaks against a number, whenever it is dialled; the gravest first."""
    parsed = _parse_e164(number)
    if _reaches_emergency(number, parsed, policy):
        yield "emergency_number", "an emergency number"
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        yield "invalid_number", "no number of any country's plan"
        return
    if own_number:
        yield "own_number", "the tenant's own number: the call would come back"
    if not _is_ordinary(parsed, policy):
        yield "number_type", "neither a fixed, mobile or internet line nor freephone at home"
    countries = policy.countries
    if countries is not None and not _is_in_countries(parsed, countries):
        yield "country", f"in none of the allowed countries ({', '.join(countries) or 'none'})"


def _parse_e164(number: str) -> PhoneNumber | None:
    """The number; None unless it is spelt with a country code, in ASCII digits only."""
    if not (number.startswith("+") and number[1:].isascii() and number[1:].isdigit()):
        return None
    try:
        return phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None


def _reaches_emergency(number: str, parsed: PhoneNumber | None, policy: DialPolicy) -> bool:
    """Whether somebody's emergency service would answer, in whatever way it is spelt.

    `phonenumbers` thinks that +1911 does not; a carrier that strips the country code does.
    """
    if parsed is None:
        dialling_countries = (*(policy.countries or ()), policy.home_country or "")
        return any(
            phonenumbers.is_emergency_number(number, country) for country in dialling_countries
        )
    dialled = phonenumbers.national_significant_number(parsed)
    is_emergency = (
        phonenumbers.is_emergency_number  # +94 112 345 678 is a line in Colombo
        if phonenumbers.is_valid_number(parsed)
        else phonenumbers.connects_to_emergency_number
    )
    countries = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    return any(is_emergency(dialled, country) for country in countries)


def _is_ordinary(number: PhoneNumber, policy: DialPolicy) -> bool:
    if phonenumbers.region_code_for_number(number) in (None, _NO_COUNTRY):
        return False
    kind = phonenumbers.number_type(number)
    if kind == PhoneNumberType.TOLL_FREE:
        at_home = policy.home_country is not None and _is_in_countries(
            number, (policy.home_country,)
        )
        return at_home or policy.countries is None
    return kind in _ALLOWED_TYPES


def _is_in_countries(number: PhoneNumber, countries: tuple[str, ...]) -> bool:
    """Whether one of the countries' plans has the number; +1 and +44 are several countries'."""
    return any(phonenumbers.is_valid_number_for_region(number, country) for country in countries)
