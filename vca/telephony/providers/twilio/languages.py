"""Twilio's languages and voices, for `<Say>`, `<Gather>` and `<ConversationRelay>`.

Source: the enumerations of `Say` and `Gather` in Twilio's C# SDK (github.com/twilio/twilio-csharp,
commit f6b1f01 of 2026-06-22), which list all values; the Python SDK lists none. Twilio logs a
warning for an unknown value and may skip the verb (errors 13331 and 13512).
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from vca.telephony import polly_voices
from vca.telephony.languages import DEFAULT_LANGUAGE, LanguageTable, LanguageValues, Voice

# `<Say language>`. The first tag of a language serves its other regions.
_SAY_VALUES = """
af-ZA am-ET arb ar-XA ar-AE bg-BG bn-IN ca-ES cmn-CN cmn-TW zh-HK yue-HK cs-CZ cy-GB da-DK de-DE
de-AT el-GR en-US en-GB en-AU en-CA en-IE en-IN en-NZ en-ZA es-ES es-MX es-US eu-ES fi-FI fil-PH
fr-FR fr-CA fr-BE gl-ES gu-IN he-IL hi-IN hu-HU id-ID is-IS it-IT ja-JP kn-IN ko-KR lt-LT lv-LV
ml-IN mr-IN ms-MY nb-NO nl-NL nl-BE pa-IN pl-PL pt-PT pt-BR ro-RO ru-RU sk-SK sr-RS sv-SE ta-IN
te-IN th-TH tr-TR uk-UA vi-VN
"""
# `<Gather language>`.
_GATHER_VALUES = """
af-ZA am-ET ar-SA ar-AE ar-BH ar-DZ ar-EG ar-IL ar-IQ ar-JO ar-KW ar-LB ar-MA ar-OM ar-PS ar-QA
ar-TN az-AZ bg-BG bn-IN bn-BD ca-ES cs-CZ da-DK de-DE el-GR en-US en-GB en-AU en-CA en-GH en-IE
en-IN en-KE en-NG en-NZ en-PH en-SG en-TZ en-ZA es-ES es-MX es-US es-AR es-BO es-CL es-CO es-CR
es-DO es-EC es-GT es-HN es-NI es-PA es-PE es-PR es-PY es-SV es-UY es-VE et-EE eu-ES fa-IR fi-FI
fil-PH fr-FR fr-CA gl-ES gu-IN he-IL hi-IN hr-HR hu-HU hy-AM id-ID is-IS it-IT ja-JP jv-ID ka-GE
km-KH kn-IN ko-KR lo-LA lt-LT lv-LV mk-MK ml-IN mn-MN mr-IN ms-MY my-MM nb-NO ne-NP nl-NL nl-BE
pl-PL pt-PT pt-BR ro-RO ru-RU si-LK sk-SK sl-SI sq-AL sr-RS su-ID sv-SE sw-KE sw-TZ ta-IN ta-LK
ta-MY ta-SG te-IN th-TH tr-TR uk-UA ur-PK ur-IN uz-UZ vi-VN zu-ZA
"""
# Values of `<Gather>` that differ from the tag.
_GATHER_ALIASES = {
    "zh-CN": "cmn-Hans-CN",
    "zh-TW": "cmn-Hant-TW",
    "zh-HK": "yue-Hant-HK",
    "yue-HK": "yue-Hant-HK",
    "pa-IN": "pa-guru-IN",
}
# Languages for which Twilio selects a voice if `<Say>` names none: those of its voice "alice".
_DEFAULT_VOICE_VALUES = """
ca-ES cmn-CN cmn-TW da-DK de-DE en-US en-GB en-AU en-CA en-IN es-ES es-MX fi-FI fr-FR fr-CA it-IT
ja-JP ko-KR nb-NO nl-NL pl-PL pt-PT pt-BR ru-RU sv-SE zh-HK
"""
_WITH_DEFAULT_VOICE = tuple(_DEFAULT_VOICE_VALUES.split())
_CHIRP_NAMES = ("Aoede", "Charon", "Fenrir", "Kore", "Leda", "Orus", "Puck", "Zephyr")
# Google's voices: the families of each locale, with the letters of their voices.
_GOOGLE_VOICES = """
af-ZA Standard:A
am-ET Standard:AB Wavenet:AB
ar-XA Standard:ABCD Wavenet:ABCD Chirp3-HD
bg-BG Standard:AB
bn-IN Standard:ABCD Wavenet:ABCD Chirp3-HD
ca-ES Standard:AB
cmn-CN Standard:ABCD Wavenet:ABCD Chirp3-HD
cmn-TW Standard:ABC Wavenet:ABC
cs-CZ Standard:AB Wavenet:AB
da-DK Standard:ACDEFG Wavenet:ACDEFG Neural2:DF
de-DE Standard:ABCDEFGH Wavenet:ABCDEFGH Neural2:ABCDFGH Chirp3-HD
el-GR Standard:AB Wavenet:AB
en-AU Standard:ABCD Wavenet:ABCD Neural2:ABCD Chirp3-HD
en-GB Standard:ABCDFNO Wavenet:ABCDFNO Neural2:ABCDFNO Chirp3-HD
en-IN Standard:ABCDEF Wavenet:ABCDEF Neural2:ABCD Chirp3-HD
en-US Standard:ABCDEFGHIJ Wavenet:ABCDEFGHIJ Neural2:ACDEFGHIJ Chirp3-HD
es-ES Standard:ABCDEFGH Wavenet:BCDEFGH Neural2:ABCDEFGH Chirp3-HD
es-US Standard:ABC Wavenet:ABC Neural2:ABC Chirp3-HD
eu-ES Standard:AB
fi-FI Standard:AB Wavenet:AB
fil-PH Standard:ABCD Wavenet:ABCD
fil-ph Neural2:AD
fr-CA Standard:ABCD Wavenet:ABCD Neural2:ABCD Chirp3-HD
fr-FR Standard:ABCDEFG Wavenet:ABCDEFG Neural2:ABCDEFG Chirp3-HD
gl-ES Standard:AB
gu-IN Standard:ABCD Wavenet:ABCD Chirp3-HD
he-IL Standard:ABCD Wavenet:ABCD
hi-IN Standard:ABCDEF Wavenet:ABCDEF Neural2:ABCD Chirp3-HD
hu-HU Standard:AB Wavenet:A
id-ID Standard:ABCD Wavenet:ABCD Chirp3-HD
is-IS Standard:AB
it-IT Standard:ABCDEF Wavenet:ABCDEF Neural2:ACF Chirp3-HD
ja-JP Standard:ABCD Wavenet:ABCD Neural2:BCD Chirp3-HD
kn-IN Standard:ABCD Wavenet:ABCD Chirp3-HD
ko-KR Standard:ABCD Wavenet:ABCD Neural2:ABC Chirp3-HD
lt-LT Standard:AB
lv-LV Standard:AB
ml-IN Standard:ABCD Wavenet:ABCD Chirp3-HD
mr-IN Standard:ABC Wavenet:ABC Chirp3-HD
ms-MY Standard:ABCD Wavenet:ABCD
nb-NO Standard:ABCDEFG Wavenet:ABCDEFG
nl-BE Standard:ABCD Wavenet:ABCD
nl-NL Standard:ABCDEFG Wavenet:ABCDEFG Chirp3-HD
pa-IN Standard:ABCD Wavenet:ABCD
pl-PL Standard:ABCDEFG Wavenet:ABCDEFG Chirp3-HD
pt-BR Standard:ABCDE Wavenet:ABCDE Neural2:ABC Chirp3-HD
pt-PT Standard:ABCDEF Wavenet:ABCDEF
ro-RO Standard:AB Wavenet:AB
ru-RU Standard:ABCDE Wavenet:ABCDE Chirp3-HD
sk-SK Standard:AB Wavenet:AB
sr-RS Standard:A
sv-SE Standard:ABCDEFG Wavenet:ABCDEFG
ta-IN Standard:ABCD Wavenet:ABCD Chirp3-HD
te-IN Standard:ABCD Chirp3-HD
th-TH Standard:A Neural2:C Chirp3-HD
tr-TR Standard:ABCDE Wavenet:ABCDE Chirp3-HD
uk-UA Standard:A Wavenet:A
vi-VN Standard:ABCD Wavenet:ABCD Neural2:AD Chirp3-HD
yue-HK Standard:ABCD
"""
# Amazon's voices that Twilio does not offer.
_NOT_AT_TWILIO = (
    "Jitka-Neural",
    "Sabrina-Neural",
    "Jasmine-Neural",
    "Jihye-Neural",
    "Remi-Generative",
    "Mia-Generative",
)
_POLLY_NAME = re.compile(r"(?:AWS\.)?Polly\.(.+)", re.ASCII | re.IGNORECASE)
# Voices that Twilio offers besides, or spells with an accent.
_OTHER_POLLY_VOICES = {
    "kevin": Voice("Polly.Kevin", ("en-US",)),
    "mía-generative": Voice("Polly.Mía-Generative", ("es-MX",)),
    "rémi-generative": Voice("Polly.Rémi-Generative", ("fr-FR",)),
}


@dataclass(frozen=True)
class RelayVoice:
    """A voice as ConversationRelay takes it: the provider, and the voice's name there."""

    provider: str
    name: str


def _parse_google_voices() -> tuple[Voice, ...]:
    voices = []
    for line in _GOOGLE_VOICES.split("\n"):
        locale, *families = line.split() or [""]
        for family, _, letters in (entry.partition(":") for entry in families):
            for name in letters or _CHIRP_NAMES:
                voices.append(Voice(f"Google.{locale}-{family}-{name}", (_locale_tag(locale),)))
    return tuple(voices)


def _locale_tag(locale: str) -> str:
    language, _, territory = locale.partition("-")
    return f"{language}-{territory.upper()}"


_GOOGLE_TABLE = {voice.name.lower(): voice for voice in _parse_google_voices()}
_POLLY_TABLE = {
    voice.label.lower(): Voice(f"Polly.{voice.label}", voice.locales)
    for voice in polly_voices.VOICES
    if voice.label not in _NOT_AT_TWILIO
} | _OTHER_POLLY_VOICES
# Voices of `<Say>` only.
_BASIC_TABLE = {
    "man": Voice("man", ("en-US", "en-GB", "es-ES", "fr-FR", "de-DE")),
    "woman": Voice("woman", ("en-US", "en-GB", "es-ES", "fr-FR", "de-DE")),
    "alice": Voice("alice", _WITH_DEFAULT_VOICE),
}


def _find_voice(name: str) -> Voice | None:
    """Return the voice with this name, in any case. Telnyx's names of Amazon voices count too."""
    lower_name = name.lower()
    polly_name = _POLLY_NAME.fullmatch(lower_name)
    if polly_name:
        return _POLLY_TABLE.get(polly_name[1])
    return _GOOGLE_TABLE.get(lower_name) or _BASIC_TABLE.get(lower_name)


TABLE = LanguageTable(
    LanguageValues({**{tag: tag for tag in _GATHER_VALUES.split()}, **_GATHER_ALIASES}),
    LanguageValues({tag: tag for tag in _SAY_VALUES.split()}),
    _find_voice,
    (*_GOOGLE_TABLE.values(), *_POLLY_TABLE.values()),
)
# The first voice of each locale: one of Google's standard voices, which are the cheapest, if there
# is one.
_VOICES_BY_LOCALE: dict[str, str] = {}
for _voice in TABLE.example_voices:
    _VOICES_BY_LOCALE.setdefault(_voice.locales[0], _voice.name)
_NEAREST_VOICES = LanguageValues(_VOICES_BY_LOCALE)


@lru_cache(maxsize=1024)
def choose_speech(voice_name: str | None, language: str | None) -> tuple[str, Voice | None]:
    """Return the language and the voice for `<Say>`, which fit together. No language is English.

    A voice decides on the region. Without a voice that speaks the language, Twilio selects one if
    it has a default for the language, otherwise this table does.
    """
    spoken = language if TABLE.speech.nearest_tag(language) else DEFAULT_LANGUAGE
    value = TABLE.speech.choose(spoken)
    voice = TABLE.choose_voice(voice_name, spoken)
    if voice is None and value in _WITH_DEFAULT_VOICE:
        return value, None
    voice = voice or _find_voice(_NEAREST_VOICES.choose(value))
    assert voice is not None
    locale = voice.locale_for(spoken)
    return (locale if locale in TABLE.speech.values else TABLE.speech.choose(locale)), voice


def choose_relay_voice(voice_name: str | None, language: str | None) -> RelayVoice | None:
    """Return the voice for ConversationRelay, or None if Twilio selects one for the language."""
    _, voice = choose_speech(voice_name, language)
    if voice is None or voice.name in _BASIC_TABLE:
        return None
    vendor, _, name = voice.name.partition(".")
    return RelayVoice("Amazon" if vendor == "Polly" else "Google", name)
