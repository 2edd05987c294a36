"""The languages of a call: which ones its profile allows, and which one the caller speaks.

Once the caller has spoken another language than the profile's, the call stores it, and every later
turn sees the profile with that language and its voice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vca.services import Services
from vca.telephony.turn_settings import TURN_FIELDS, SpokenLanguage, TurnSettings
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record
from vca.tenant.calls.core.call_types import CallRef

# Names and words such as "OK" say little about the language of a call.
_MIN_WORDS = 3
# Chinese, Japanese and Thai are written without spaces.
_MIN_CHARS_WITHOUT_SPACES = 6
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
# The key of the profile's own language and voice in the fields that replace them.
_MAIN_LANGUAGE = "main_language"
_DEFAULT_LANGUAGE = "en"


def main_language(profile: Mapping[str, Any]) -> SpokenLanguage:
    """Return the profile's own language and voice, whatever the caller speaks."""
    fields = profile.get(_MAIN_LANGUAGE) or profile
    return SpokenLanguage(fields["language"] or _DEFAULT_LANGUAGE, fields["voice"])


def current_language(profile: Mapping[str, Any]) -> SpokenLanguage:
    """Return the language and voice that the call uses now."""
    return SpokenLanguage(profile["language"] or _DEFAULT_LANGUAGE, profile["voice"])


def allowed_languages(profile: Mapping[str, Any]) -> tuple[SpokenLanguage, ...]:
    """Return the languages that the call may change to, or none if it has only one.

    The profile's own language comes first.
    """
    main = main_language(profile)
    others = [SpokenLanguage(**item) for item in (profile.get("turn") or {}).get("languages", ())]
    others = [item for item in others if item.language.lower() != main.language.lower()]
    return (main, *others) if others else ()


def turn_settings(profile: Mapping[str, Any]) -> TurnSettings:
    """Return the turn settings of a stored profile. Profiles from before have none."""
    stored = profile.get("turn") or {}
    values = {name: value for name, value in stored.items() if name in TURN_FIELDS}
    return TurnSettings(**{**values, "languages": allowed_languages(profile)})


def match_language(
    languages: Sequence[SpokenLanguage], *, reported_tag: str, utterance: str
) -> SpokenLanguage | None:
    """Return the allowed language that the caller speaks, or None if it is not clear.

    Carriers report only the primary language in some modes: `es` stands for `es-MX`.
    """
    if not _is_long_enough(utterance):
        return None
    tag = reported_tag.replace("_", "-").lower()
    exact = [item for item in languages if item.language.lower() == tag]
    same_primary = [item for item in languages if _primary(item.language) == _primary(tag)]
    return next(iter([*exact, *same_primary]), None)


def change_language(ref: CallRef, language: SpokenLanguage, *, services: Services) -> None:
    """Store the language that the rest of the call uses. Raises NotFound."""
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        main = main_language(call_context.profile)
        fields = {**asdict(language), _MAIN_LANGUAGE: asdict(main)}
        record.update_call(
            session, ref.call_id, spoken_language=None if language == main else fields
        )


def in_main_language(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the profile as its tenant wrote it, for texts that the tenant reads."""
    return {**profile, **(profile.get(_MAIN_LANGUAGE) or {})}


def _primary(tag: str) -> str:
    return tag.replace("_", "-").partition("-")[0].lower()


def _is_long_enough(utterance: str) -> bool:
    if _WITHOUT_SPACES.search(utterance):
        return len(utterance.strip()) >= _MIN_CHARS_WITHOUT_SPACES
    return len(utterance.split()) >= _MIN_WORDS
