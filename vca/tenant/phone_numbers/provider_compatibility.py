"""Check that a number's carrier exists, has the needed capabilities, and owns the number."""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit.errors import Conflict, InvalidInput, NotFound
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.phone_numbers import carrier_languages, provider_assignment
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.telephony_accounts import adapter_lookup
from vca.tenant.telephony_accounts import service as accounts
from vca.tenant.telephony_accounts.models import TelephonyAccount

# A language and a voice, None where the profile leaves the choice to the carrier.
_Speech = tuple[str | None, str | None]
_SPEECH_FIELDS = frozenset({"language", "voice", "turn"})


class CarrierLacksCapability(Conflict):
    """The number's carrier does not support the operation."""

    code = "carrier-cannot"


def check_carrier(session: Session, number: PhoneNumber, *, services: Services) -> None:
    """Raise InvalidInput if the number's carrier or carrier account does not exist.

    An account must belong to the tenant and to the carrier of `provider_type`.
    """
    ref = provider_assignment.current_ref(number)
    if ref.account_id is not None:
        _check_account(session, ref)
    elif not services.carriers.is_configured(ref.provider_type):
        raise InvalidInput.field("provider_type", "This carrier is not configured.")


def check_profile(
    session: Session, number: PhoneNumber, profile: AiProfile, *, services: Services
) -> None:
    """Raise CarrierLacksCapability if the profile needs what the number's carrier cannot do."""
    speech = _speech_in(profile, _SPEECH_FIELDS)
    _check_profile(
        session, provider_assignment.current_ref(number), profile, speech, services=services
    )


def check_numbers_of_profile(
    session: Session,
    *,
    ai_profile_id: UUID,
    changed_fields: frozenset[str],
    services: Services,
) -> None:
    """Raise CarrierLacksCapability if carriers lack what a changed profile needs.

    These are the carriers of all numbers that the profile answers. A new language or voice must
    besides be one of any configured carrier: nobody could hear the profile otherwise. A profile
    with a language or voice from before they were checked can still be changed in other ways.
    """
    profile = session.get_one(AiProfile, ai_profile_id)
    changed_speech = _speech_in(profile, changed_fields)
    if changed_speech:
        _check_speech(_configured_carriers(session, services=services), changed_speech)
    becomes_default = "is_default" in changed_fields
    speech = _speech_in(profile, _SPEECH_FIELDS) if becomes_default else changed_speech
    answers = PhoneNumber.ai_profile_id == profile.id
    if profile.is_default:
        answers |= PhoneNumber.ai_profile_id.is_(None)
    refs = select(PhoneNumber.provider_type, PhoneNumber.telephony_account_id).where(answers)
    for row in session.execute(refs.distinct()):
        _check_profile(session, ProviderAccountRef(*row), profile, speech, services=services)


def _configured_carriers(session: Session, *, services: Services) -> list[type[TelephonyAdapter]]:
    """Return the carriers that the deployment or the tenant has an account with."""
    carriers = services.carriers
    own_names = session.scalars(select(TelephonyAccount.provider_type).distinct())
    own_carriers = filter(None, map(carriers.adapter_class, own_names))
    by_name = {carrier.name: carrier for carrier in (*carriers.configured_classes(), *own_carriers)}
    return list(by_name.values())


def _speech_in(profile: AiProfile, field_names: Collection[str]) -> list[_Speech]:
    """Return the languages and voices in those of a profile's fields."""
    speech: list[_Speech] = []
    if "language" in field_names or "voice" in field_names:
        speech.append((profile.language, profile.voice))
    if "turn" in field_names:
        other_languages = profile.turn.get("languages", ())
        speech += [(language["language"], language["voice"]) for language in other_languages]
    return speech


def _check_speech(carriers: Sequence[type[TelephonyAdapter]], speech: Iterable[_Speech]) -> None:
    for language, voice in speech:
        missing = carrier_languages.find_missing_speech(carriers, language=language, voice=voice)
        if missing is not None:
            raise CarrierLacksCapability(missing.reason, members={"possible": missing.possible})


def _check_profile(
    session: Session,
    ref: ProviderAccountRef,
    profile: AiProfile,
    speech: Iterable[_Speech],
    *,
    services: Services,
) -> None:
    carrier = adapter_lookup.adapter_for_number(session, ref, services=services)
    if carrier is None:
        return
    _check_speech([type(carrier)], speech)
    if profile.recording and not carrier.capabilities.recording:
        raise CarrierLacksCapability(
            "The profile records calls, which the number's carrier does not support."
        )
    if profile.transfer_targets and not carrier.capabilities.transfer:
        raise CarrierLacksCapability(
            "The profile transfers calls, which the number's carrier does not support."
        )
    if lacking := sorted(_used_turn_fields(profile) - carrier.capabilities.turn):
        field_names = ", ".join(f"turn.{name}" for name in lacking)
        raise CarrierLacksCapability(
            f"The profile sets {field_names}, which the number's carrier, {carrier.name}, does not "
            "support."
        )


def _used_turn_fields(profile: AiProfile) -> set[str]:
    """Return the fields of `turn` that are set. null and an empty list need nothing."""
    return {name for name, value in profile.turn.items() if value not in (None, [])}


def is_on_own_account(
    tenant: TenantRef, *, services: Services, did_number: str, ref: ProviderAccountRef
) -> bool:
    """Return whether the tenant's own carrier account has the number.

    Such a number need not be assigned to the tenant by the platform. No transaction is open while
    the carrier is asked. Raise InvalidInput for an account that is not the tenant's, and
    TelephonyError.
    """
    if ref.account_id is None:
        return False
    with tenant_session(tenant, database=services.database) as session:
        _check_account(session, ref)
        carrier = adapter_lookup.adapter_for_number(session, ref, services=services)
    # Only the number's presence counts. The number has no id yet, so the settings cannot match.
    return carrier is not None and bool(carrier.check_number(tenant.id, uuid4(), did_number))


def unknown_account_error() -> InvalidInput:
    """Return the error for a telephony account that the tenant does not have."""
    return InvalidInput.field("telephony_account_id", "There is no such telephony account.")


def _check_account(session: Session, ref: ProviderAccountRef) -> None:
    assert ref.account_id is not None
    try:
        with session.no_autoflush:  # a number that refers to the account must not be written yet
            row = accounts.get(session, telephony_account_id=ref.account_id)
    except NotFound:
        raise unknown_account_error() from None
    if row.provider_type != ref.provider_type:
        detail = "The account belongs to another carrier than the number's provider_type."
        raise InvalidInput.field("telephony_account_id", detail)
