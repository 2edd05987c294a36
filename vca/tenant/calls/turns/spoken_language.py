"""The language that the caller speaks, of those that the call's profile allows.

Once the caller has spoken another language than the profile's, the call stores it, and every later
turn sees the profile with that language and its voice.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict

from vca.services import Services
from vca.telephony.turn_settings import SpokenLanguage
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record
from vca.tenant.calls.core.call_profile import MAIN_LANGUAGE_KEY
from vca.tenant.calls.core.call_types import CallRef

# Names and words such as "OK" say little about the language of a call.
_MIN_WORDS = 3
# Chinese, Japanese and Thai are written without spaces.
_MIN_CHARS_WITHOUT_SPACES = 6
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


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
        main = call_context.agent.main_language
        fields = {**asdict(language), MAIN_LANGUAGE_KEY: asdict(main)}
        record.update_call(
            session, ref.call_id, spoken_language=None if language == main else fields
        )


def _primary(tag: str) -> str:
    return tag.replace("_", "-").partition("-")[0].lower()


def _is_long_enough(utterance: str) -> bool:
    if _WITHOUT_SPACES.search(utterance):
        return len(utterance.strip()) >= _MIN_CHARS_WITHOUT_SPACES
    return len(utterance.split()) >= _MIN_WORDS
