"""Check whether carriers have a profile's language and voice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.languages import DEFAULT_LANGUAGE


@dataclass(frozen=True)
class MissingSpeech:
    """A language or a voice that no carrier has: the reason, and what they have in its place."""

    reason: str
    possible: tuple[str, ...]


def find_missing_speech(
    carriers: Sequence[type[TelephonyAdapter]], *, language: str | None, voice: str | None
) -> MissingSpeech | None:
    """Return what all of the carriers lack, or None if one of them has it.

    Return None if there are no carriers.
    """
    tables = [carrier.capabilities.languages for carrier in carriers]
    limited_tables = [table for table in tables if table is not None]
    if len(limited_tables) < len(tables) or not tables:
        return None  # a carrier that speaks every language
    names = " and ".join(carrier.name for carrier in carriers)
    tag = language or DEFAULT_LANGUAGE
    speaking = [table for table in limited_tables if table.speaks(language)]
    if not speaking:
        possible = _sort_unique(table.tags() for table in limited_tables)
        return MissingSpeech(f"The language {tag} is not supported by {names}.", possible)
    if voice is None or any(table.has_voice(voice, language) for table in speaking):
        return None
    possible = _sort_unique(table.voices_for(language) for table in speaking)
    return MissingSpeech(f"The voice {voice} for {tag} is not supported by {names}.", possible)


def _sort_unique(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for some_names in names for name in some_names}))
