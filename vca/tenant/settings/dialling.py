"""Decide which numbers a tenant may dial, as a protection against toll fraud. Pure functions.

Only ordinary telephone numbers in allowed countries pass. Fraud dials numbers that earn their owner
money with each minute. The deployment's `DIALLABLE_PREFIXES` count as ordinary numbers.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

from vca.kit import phone
from vca.kit.errors import Conflict
from vca.kit.number_ranges import ORDINARY_TYPES, NumberRange
from vca.telephony.dial_permit import DialPermit

DEFAULT_PER_MINUTE = 10
DEFAULT_PER_DAY = 200
HOME_COUNTRY_NEEDED = "home-country-needed"
DenialCode = Literal[
    "frozen",
    "suspended",
    "invalid_number",
    "emergency_number",
    "own_number",
    "number_type",
    "country",
    "home_country_needed",
    "per_minute",
    "per_day",
]
# Region code of +800, +870, +881 to +883 and +979: freephone, satellite and other networks that
# belong to no country.
_NO_COUNTRY = "001"


class DiallingSettings(Protocol):
    """The settings of a tenant that its dial policy consists of."""

    @property
    def home_country(self) -> str | None:
        """The home country, if one is set."""

    @property
    def dial_policy(self) -> Mapping[str, Any]:
        """The tenant's own policy, without defaults."""

    @property
    def limits(self) -> Mapping[str, Any]:
        """The limits that the platform has set; `dialling` is the ceiling of the policy."""


@dataclass(frozen=True)
class DialPolicy:
    """A tenant's dial policy, below the ceiling that the platform has set.

    `countries` is None if the tenant has set none and the dialling number, whose country would
    apply, is not known yet. `home_country` is the country whose freephone numbers may be dialled.
    `own_countries` take its place for a dialling number that belongs to no country.
    `home_country_needed`: there are none, so it is not known which countries it may dial.
    `ceiling_countries` are the only countries that the platform allows, or None for all.
    `added_ranges` are the ranges of the deployment's `DIALLABLE_PREFIXES`.
    """

    countries: tuple[str, ...] | None
    home_country: str | None
    per_minute: int = DEFAULT_PER_MINUTE
    per_day: int = DEFAULT_PER_DAY
    own_countries: tuple[str, ...] = ()
    home_country_needed: bool = False
    ceiling_countries: tuple[str, ...] | None = None
    added_ranges: Sequence[NumberRange] = ()

    @property
    def allows_nothing(self) -> bool:
        """Whether no country may be dialled."""
        ceiling = self.ceiling_countries
        if self.countries is None or ceiling is None:
            return self.countries == () or ceiling == ()
        return not set(self.countries).intersection(ceiling)


@dataclass(frozen=True)
class RecentDials:
    """The number of legs that the tenant has dialled in the last minute and the last 24 hours."""

    last_minute: int = 0
    last_day: int = 0


@dataclass(frozen=True)
class DialDecision:
    """Whether a number may be dialled; if not, with a machine-readable code and a reason."""

    allowed: bool
    code: DenialCode | None
    reason: str


class DiallingRefused(Conflict):
    """The toll fraud policy denies the number. `reason` is the code of the rule."""

    code = "dialling-refused"

    def __init__(self, decision: DialDecision) -> None:
        super().__init__(
            f"This number may not be dialled: {decision.reason} ({decision.code}).",
            code=HOME_COUNTRY_NEEDED if decision.code == "home_country_needed" else None,
        )
        self.reason: DenialCode | None = decision.code


def effective_policy(
    settings: DiallingSettings,
    *,
    from_number: str | None,
    own_countries: Collection[str] = (),
    added_ranges: Sequence[NumberRange] = (),
) -> DialPolicy:
    """Return the policy for legs from or through one of the tenant's numbers.

    A tenant without countries may dial its home country. Without a home country it may dial the
    country of `from_number`, which is None if the number is not known yet. A number that belongs to
    no country may then dial `own_countries`, the countries of the tenant's other numbers. The
    platform's ceiling applies too: of two limits, the lower one counts.
    """
    stored_policy, ceiling = settings.dial_policy, settings.limits.get("dialling", {})
    number_country = country_of(from_number, added_ranges) if from_number else None
    home_country = settings.home_country or number_country
    countries = stored_policy.get("countries")
    if countries is None and home_country:
        countries = [home_country]
    elif countries is None and from_number:
        countries = sorted(own_countries)
    return DialPolicy(
        None if countries is None else tuple(countries),
        home_country,
        _lower(stored_policy.get("per_minute", DEFAULT_PER_MINUTE), ceiling.get("per_minute")),
        _lower(stored_policy.get("per_day", DEFAULT_PER_DAY), ceiling.get("per_day")),
        own_countries=() if home_country else tuple(sorted(own_countries)),
        home_country_needed=stored_policy.get("countries") is None and countries == [],
        ceiling_countries=None if ceiling.get("countries") is None else tuple(ceiling["countries"]),
        added_ranges=added_ranges,
    )


def _lower(number: int, ceiling: int | None) -> int:
    return number if ceiling is None else min(number, ceiling)


def country_of(number: str, added_ranges: Sequence[NumberRange] = ()) -> str | None:
    """Return the ISO 3166 code of the country that a number belongs to, or None.

    Several countries share +1, +44 and a few other codes. There an ordinary line belongs to the
    country of its area code, and a freephone number or another special one to none of them.
    """
    parsed = phone.parse(number)
    if parsed is None:
        return None
    if added_country := phone.range_country(number, added_ranges):
        return added_country
    shares_code = len(phonenumbers.region_codes_for_country_code(parsed.country_code or 0)) > 1
    if shares_code and phonenumbers.number_type(parsed) not in ORDINARY_TYPES:
        return None
    country = phonenumbers.region_code_for_number(parsed)
    return None if country == _NO_COUNTRY else country


def permit(
    number: str,
    *,
    policy: DialPolicy,
    recent: RecentDials,
    own_number: bool,
    stopped: DialDecision | None,
) -> DialPermit:
    """Return the permission to dial `number` now; raise DiallingRefused. Arguments: `check_dial`.

    Nothing else creates a permission, and adapters dial no number without one.
    """
    decision = check_dial(
        number, policy=policy, recent=recent, own_number=own_number, stopped=stopped
    )
    if not decision.allowed:
        raise DiallingRefused(decision)
    return DialPermit(number)


def check_stopped(*, frozen: bool, tenant_status: str) -> DialDecision | None:
    """Return why the tenant may dial nothing at all, or None."""
    if frozen:
        return DialDecision(False, "frozen", "dialling is frozen")
    if tenant_status != "active":
        return DialDecision(False, "suspended", "the tenant is not active")
    return None


def check_any_dial(
    *, policy: DialPolicy, recent: RecentDials, stopped: DialDecision | None
) -> DialDecision:
    """Return whether a tenant may dial now, whatever the number. Arguments: `check_dial`."""
    if stopped is not None:
        return stopped
    if policy.allows_nothing and not policy.home_country_needed:
        return DialDecision(False, "country", "no country is allowed")
    return _check_frequency(policy, recent)


def check_dial(
    number: str,
    *,
    policy: DialPolicy,
    recent: RecentDials,
    own_number: bool,
    stopped: DialDecision | None = None,
) -> DialDecision:
    """Return whether a tenant may dial `number` now.

    `own_number`: the number is one of the tenant's, so that the call would come back in. `stopped`:
    why the tenant may dial nothing at all, from `check_stopped`.
    """
    if stopped is not None:
        return stopped
    for code, reason in _denials(number, policy, own_number):
        return DialDecision(False, code, reason)
    return _check_frequency(policy, recent)


def _check_frequency(policy: DialPolicy, recent: RecentDials) -> DialDecision:
    if recent.last_minute >= policy.per_minute:
        return DialDecision(
            False, "per_minute", f"the limit of {policy.per_minute} legs per minute is reached"
        )
    if recent.last_day >= policy.per_day:
        return DialDecision(
            False, "per_day", f"the limit of {policy.per_day} legs in 24 hours is reached"
        )
    return DialDecision(True, None, "the number may be dialled")


def _denials(number: str, policy: DialPolicy, own_number: bool) -> Iterator[tuple[DenialCode, str]]:
    """Yield the reasons against a number that do not depend on time, the most serious first."""
    parsed = _parse_dialled(number)
    added_country = phone.range_country(number, policy.added_ranges)
    if _reaches_emergency(number, parsed, policy):
        yield "emergency_number", "the number is an emergency number"
    if parsed is None or not (added_country or phonenumbers.is_valid_number(parsed)):
        yield "invalid_number", "the number is not valid in any country"
        return
    if own_number:
        yield "own_number", "the number belongs to the tenant, so the call would come back in"
    if not added_country and not _is_ordinary(parsed, policy):
        yield (
            "number_type",
            "only fixed, mobile and internet lines and freephone at home are allowed",
        )
    countries = policy.countries
    if policy.home_country_needed:
        yield (
            "home_country_needed",
            "the dialling number belongs to no country: set `home_country` or "
            "`dial_policy.countries` in the settings",
        )
    elif countries is not None and not _is_in_countries(parsed, added_country, countries):
        yield "country", f"the country is not allowed (allowed: {', '.join(countries) or 'none'})"
    ceiling = policy.ceiling_countries
    if ceiling is not None and not _is_in_countries(parsed, added_country, ceiling):
        allowed = ", ".join(ceiling) or "none"
        yield "country", f"the platform does not allow the country (allowed: {allowed})"


def _parse_dialled(number: str) -> PhoneNumber | None:
    """Return the parsed number, or None unless it has a country code and ASCII digits only.

    Unlike an E.164 number it may be short, as +1911 is.
    """
    if not (number.startswith("+") and number[1:].isascii() and number[1:].isdigit()):
        return None
    try:
        return phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None


def _reaches_emergency(number: str, parsed: PhoneNumber | None, policy: DialPolicy) -> bool:
    """Return whether an emergency service would answer, in any spelling of the number.

    `phonenumbers` does not recognize +1911, which a carrier that strips the country code connects
    to 911.
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
        homes = (policy.home_country,) if policy.home_country else policy.own_countries
        is_unknown = policy.countries is None or policy.home_country_needed
        return is_unknown or _is_in_countries(number, None, homes)
    return kind in ORDINARY_TYPES


def _is_in_countries(
    number: PhoneNumber, added_country: str | None, countries: tuple[str, ...]
) -> bool:
    """Return whether the number is valid in one of the countries; several share +1 and +44.

    `added_country` is the country of the added range that has the number.
    """
    if added_country is not None:
        return added_country in countries
    return any(phonenumbers.is_valid_number_for_region(number, country) for country in countries)
